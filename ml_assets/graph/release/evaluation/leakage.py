"""Leakage suspects: a feature that explains too much, or repeats the target or the key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ml_assets import metrics
from ml_assets.ml import estimators
from ml_assets.ml import leaks as signs
from ml_assets.ml.judged import Array, Judged
from ml_assets.spec import PipelineSpec
from ml_assets.spec.model import LeakageGate
from ml_assets.tables.evaluations import EvaluatedNumber

if TYPE_CHECKING:
    import pandas as pd

SURE_ROWS = 100  # test rows beside the most frequent class, below which a perfect score is no sign


def leaks(spec: PipelineSpec, fitted: Judged, judged: Judged) -> list[EvaluatedNumber]:
    """What features alone and together explain on test rows, and proxies of target or key.

    Args:
        spec: The pipeline.
        fitted: Train and validation rows.
        judged: Test rows.
    """
    types, kind = judged.schema.features, spec.target.kind
    train, test = (estimators.feature_frame(part.rows, types) for part in (fitted, judged))
    metric = _metric(kind)
    found = []
    for name, type_ in types.items():
        value = signs.explained(kind, type_, train[name], fitted.labels, test[name], judged.labels)
        found.append(EvaluatedNumber("single", metric, value, len(test), slice_by="feature", slice=name))
    for name in types:
        note = _proxy(spec, name, fitted, judged, train[name], test[name])
        if note is not None:
            rows = len(train) + len(test)
            found.append(
                EvaluatedNumber("target_proxy", "agreement", 1.0, rows, slice_by="feature", slice=name, note=note)
            )
    return [*found, *_too_good(spec, fitted, judged, found, train, test)]


def _too_good(
    spec: PipelineSpec,
    fitted: Judged,
    judged: Judged,
    found: list[EvaluatedNumber],
    train: pd.DataFrame,
    test: pd.DataFrame,
) -> list[EvaluatedNumber]:
    """The version's own score, and that of two or three features; NaN where so few rows may reach it by chance."""
    kind = spec.target.kind
    alone = {f.slice: f.value for f in found if f.scope == "single"}
    types = dict(sorted(judged.schema.features.items(), key=lambda item: -np.nan_to_num(alone[item[0]])))
    sides = train, fitted.labels, test, judged.labels
    names, together = signs.small_set(kind, types, *sides, enough=(spec.gates.leakage or LeakageGate()).max_score or 1)
    metric, note, rows = _metric(kind), None, len(test)
    # Of ten classes, each is far from nine others: their mean ROC AUC is near 1 in many an honest model.
    of_own = metrics.UNITLESS[kind]
    own = judged.score(of_own)
    rare = rows - int(np.unique(judged.labels, return_counts=True)[1].max())
    if kind != "regression" and rare < SURE_ROWS:
        note = f"{rare} test rows beside the most frequent class are too few to call a score too good"
        own = together = float("nan")
    made = [EvaluatedNumber("score", of_own, own, rows, note=note)]
    if names:
        made.append(
            EvaluatedNumber("together", metric, together, rows, slice_by="feature", slice=" + ".join(names), note=note)
        )
    return made


def _metric(kind: str) -> str:
    return "r2" if kind == "regression" else "roc_auc"


def suspects(spec: PipelineSpec, found: Sequence[EvaluatedNumber]) -> list[str]:
    """What may be a leak and needs a person's attention, one sentence each."""
    rule = spec.gates.leakage or LeakageGate()
    sentences = [f"{f.slice} {f.note}" for f in found if f.scope == "target_proxy"]
    sentences += [
        f"{f.slice} alone reaches {f.metric} {f.value:.4g}"
        for f in found
        if f.scope == "single" and f.value > rule.max_single
    ]
    sentences += too_good(rule, found)
    sentences += [
        f"{f.value:.2%} of the test rows repeat training rows"
        for f in found
        if f.scope == "identical" and rule.max_identical is not None and f.value > rule.max_identical
    ]
    return sentences


def too_good(rule: LeakageGate, found: Sequence[EvaluatedNumber]) -> list[str]:
    """Scores that are too good to be true, one sentence each, the features that make them first."""
    if rule.max_score is None:
        return []
    above = [f for f in found if f.scope in ("score", "together") and f.value > rule.max_score]
    ordered = sorted(above, key=lambda f: f.scope == "score")
    return [f"{f'{f.slice} together reach' if f.slice else 'it reaches'} {f.metric} {f.value:.6g}" for f in ordered]


def _proxy(
    spec: PipelineSpec, name: str, fitted: Judged, judged: Judged, train: pd.Series, test: pd.Series
) -> str | None:
    """How a feature repeats the target or a key on all rows; None where it does not."""

    def repeated(fitted_column: Array, column: Array) -> str | None:
        # A proxy is one on the test rows, too: most features are settled after those few.
        if signs.same_in_other_words(test.to_numpy(), column) is None:
            return None
        return signs.same_in_other_words(np.r_[train.to_numpy(), test.to_numpy()], np.r_[fitted_column, column])

    words = repeated(fitted.labels, judged.labels)
    if words is not None:
        return f"is {words} the target {spec.target.name}"
    if np.array_equal(test, judged.rows["row_id"]) and np.array_equal(train, fitted.rows["row_id"]):
        return "is the number of the row"
    if not _names_rows(train, test):
        return None
    for key in spec.key:
        words = repeated(*(part.rows["slice_" + key].to_numpy() for part in (fitted, judged)))
        if words is not None:
            return f"is {words} the key column {key}"
    return "has a different text in each row, like a key" if judged.schema.features[name] == "category" else None


def _names_rows(train: pd.Series, test: pd.Series) -> bool:
    """Has each row a value of its own?"""
    return bool(test.is_unique and test.notna().all() and train.is_unique and not test.isin(train).any())
