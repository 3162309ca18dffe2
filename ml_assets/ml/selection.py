"""Which candidate is the best: by cross-validation and validation together, each as far as it can be trusted.

A validation part of a few dozen rows says little by itself, and cross-validation was made on other rows of the same
table. The two scores of a candidate are averaged with the inverse of their variances as weights (the weighted mean
with the least variance, Cochran 1954). The weights are the same for all candidates: the two parts may differ in how
hard their rows are. On many validation rows their variance is small beside that between folds, and validation decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ml_assets import metrics
from ml_assets.metrics import weighted

Array = np.ndarray[Any, Any]

SAMPLE = 20_000  # rows that the bootstrap is made on; its error shrinks with the root of all rows


def validation_error(
    metric: str, labels: Array, scores: Array, kind: str, threshold: float | None, classes: Sequence[str], seed: int
) -> float:
    """Standard error of a metric on rows, by bootstrap; NaN where the metric is not defined on resamples.

    Args:
        metric: The metric.
        labels: As `estimators.label_array` returns them.
        scores: As `estimators.predict_scores` returns them.
        kind: binary, multiclass or regression.
        threshold: Decision threshold (binary).
        classes: Labels in the order of the scores (multiclass).
        seed: Draws the sample and the resamples.
    """
    rows = len(labels)
    if rows > SAMPLE:
        drawn = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))
        labels, scores = labels[drawn], scores[drawn]
    statistic = metrics.statistic(metric, labels, scores, kind, threshold, classes)
    values = weighted.bootstrap([statistic], len(labels), seed)[:, 0]
    defined = values[~np.isnan(values)]
    return float(defined.std() * math.sqrt(len(labels) / rows)) if len(defined) > 1 else math.nan


def cv_error(fold_scores: Sequence[float], rows: int, validation_rows: int, validation_error: float) -> float:
    """Standard error of the mean over folds; never less than the rows of all folds allow.

    Two or three fold scores may be alike by chance, which would make their mean look exact.

    Args:
        fold_scores: The metric on each fold, NaN where it is not defined.
        rows: Rows of all folds that were scored.
        validation_rows: Rows of the validation part.
        validation_error: The standard error there.
    """
    defined = [score for score in fold_scores if not math.isnan(score)]
    least = validation_error * math.sqrt(validation_rows / rows) if rows else math.nan
    if len(defined) < 2:
        return least
    return float(np.fmax(np.std(defined, ddof=1) / math.sqrt(len(defined)), least))


def ranked(rows: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Candidates, the best first, each with `selection_score` and `selection_why`.

    Args:
        rows: Candidates with `candidate`, `validation_score`, `cv_score`, and their standard errors `validation_se`
            and `cv_se`; where an error is missing, validation alone decides.
        metric: The metric of the scores.
    """
    weight = validation_weight(rows)
    scored = [{**row, "selection_score": _score(row, weight)} for row in rows]
    best = _sorted(scored, metric, "selection_score")
    by_validation = _sorted(scored, metric, "validation_score")[0]["candidate"] if scored else None
    how = f"{weight:.0%} validation, {1 - weight:.0%} cross-validation, by their standard errors"
    if best and by_validation != best[0]["candidate"]:
        how += f"; by validation alone: {by_validation}"
    return [{**row, "selection_why": how} for row in best]


def validation_weight(rows: Sequence[Mapping[str, Any]]) -> float:
    """The weight of the validation score, from 0 to 1; the rest is that of cross-validation."""
    variances = {name: _variance(rows, name) for name in ("validation_se", "cv_se")}
    total = sum(variances.values())
    return variances["cv_se"] / total if total > 0 else 1.0


def _variance(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    """Mean squared standard error of the candidates; NaN where one is missing."""
    errors = [math.nan if row.get(name) is None else float(row[name]) for row in rows]
    return float(np.mean(np.square(errors))) if errors else math.nan


def _score(row: Mapping[str, Any], weight: float) -> float | None:
    validation, cv = row["validation_score"], row["cv_score"]
    if weight == 1 or validation is None or cv is None:
        return None if validation is None else float(validation)
    return float(weight * validation + (1 - weight) * cv)


def _sorted(rows: Sequence[dict[str, Any]], metric: str, name: str) -> list[dict[str, Any]]:
    """The best first; those without a score last, equal ones in their order."""

    def gain(row: dict[str, Any]) -> float:
        value = row[name]
        return -math.inf if value is None or math.isnan(value) else metrics.METRICS[metric].gain(value, 0.0)

    return sorted(rows, key=gain, reverse=True)
