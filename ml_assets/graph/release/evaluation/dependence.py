"""Partial dependence: what a model predicts on average where a feature has one value. Friedman 2001, sec. 8.2."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_assets.ml import estimators
from ml_assets.ml.judged import Judged
from ml_assets.tables.evaluations import EvaluatedNumber

if TYPE_CHECKING:
    import pandas as pd

FEATURES = 6  # the most important ones
VALUES = 12  # of each: quantiles of a number, the most frequent ones of a category
MOST_ROWS = 1000  # of the test rows, sampled with the pipeline's seed
FEWEST_ROWS = 50
MOST_SECONDS = 4.0  # a slow model predicts fewer rows
CLASSES = 3  # multiclass: the probabilities of the most frequent ones


def dependence(model: Any, judged: Judged, found: Sequence[EvaluatedNumber], seed: int) -> list[dict[str, Any]]:
    """The most important features, each with its values and the mean prediction at each of them.

    Args:
        model: The fitted model.
        judged: Its predictions on the test rows.
        found: Findings with the scope `importance`.
        seed: Seed of the sample.

    Returns:
        For each feature: feature, kind, rows (of the sample), values, shares (of the rows near each value), and
        predicted: what -> mean prediction at each value. Of a multiclass target, `what` is a class.
    """
    ranked = sorted((f for f in found if f.scope == "importance" and f.value > 0), key=lambda f: -f.value)
    names = [str(finding.slice) for finding in ranked[:FEATURES]]
    rng = np.random.default_rng(seed)
    sampled = np.sort(rng.choice(len(judged.labels), min(len(judged.labels), MOST_ROWS), replace=False))
    features = estimators.feature_frame(judged.rows.iloc[sampled], judged.schema.features)
    features = features.iloc[: _affordable(model, features, len(names), judged.schema.kind)]
    return [_of_feature(model, judged, features, name) for name in names]


def _affordable(model: Any, features: pd.DataFrame, names: int, kind: str) -> int:
    """How many rows can be predicted for each value in time; by halves, the same on any machine of about the speed."""
    started = time.monotonic()
    estimators.predict_scores(model, features, kind)
    seconds, rows = time.monotonic() - started, len(features)
    while rows > FEWEST_ROWS and seconds * rows / len(features) * names * VALUES > MOST_SECONDS:
        rows //= 2
    return rows


def _of_feature(model: Any, judged: Judged, features: pd.DataFrame, name: str) -> dict[str, Any]:
    kind = judged.schema.features[name]
    values, shares = _values(features[name], kind)
    repeated = features.iloc[np.tile(np.arange(len(features)), len(values))].reset_index(drop=True)
    column = np.repeat(np.array(values, dtype="float64" if kind == "number" else object), len(features))
    scores = estimators.predict_scores(model, repeated.assign(**{name: column}), judged.schema.kind)
    means = scores.reshape(len(values), len(features), -1).mean(axis=1)
    return {
        "feature": name,
        "kind": kind,
        "rows": len(features),
        "values": values,
        "shares": shares,
        "predicted": {what: means[:, place].tolist() for what, place in _shown(judged).items()},
    }


def _values(column: pd.Series, kind: str) -> tuple[list[Any], list[float]]:
    """Values that the column has, and the share of the rows that is at or near each of them."""
    known = column.dropna()
    if kind == "number":
        quantiles = np.quantile(known.to_numpy("float64"), np.linspace(0.02, 0.98, VALUES)) if len(known) else []
        values = np.unique(quantiles)
        return [float(value) for value in values], [1 / max(len(values), 1)] * len(values)
    counts = known.astype(str).value_counts(normalize=True).head(VALUES)
    return [str(value) for value in counts.index], [float(share) for share in counts]


def _shown(judged: Judged) -> dict[str, int]:
    """What is predicted -> its column among the scores."""
    if judged.schema.kind != "multiclass":
        return {judged.schema.target: 0}
    names, counts = np.unique(judged.labels, return_counts=True)
    frequent = names[np.argsort(-counts, kind="stable")][:CLASSES]
    classes = list(judged.schema.classes)
    return {str(name): classes.index(str(name)) for name in frequent if str(name) in classes}
