"""Metrics as functions of row weights, and the bootstrap that is made of them.

A resample is a weight for each row: how often it was drawn. What the weights leave alone (the order of the scores, the
losses, right or wrong) is computed once, so that a resample costs a few sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ml_assets.ml import metrics

Array = np.ndarray[Any, Any]
# Weights of the rows, shape (n,) -> value; NaN where it is not defined on them.
Statistic = Callable[[Array], float]

NAN = float("nan")


def bootstrap(statistics: Sequence[Statistic], rows: int, seed: int = 0, resamples: int = metrics.RESAMPLES) -> Array:
    """Values of statistics over resampled rows, all on the same resamples: their differences are paired.

    The same rows and seed give the same resamples again. Efron and Tibshirani 1993, ch. 13.

    Returns:
        Array of shape (resamples, len(statistics)); NaN where a statistic is not defined on a resample.
    """
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    drawn = (np.bincount(rng.integers(0, rows, rows), minlength=rows).astype("float64") for _ in range(resamples))
    with threadpool_limits(1, "blas"):  # sums this short cost more to share out than to do
        return np.array([[statistic(weights) for statistic in statistics] for weights in drawn])


def statistic(
    metric: str, labels: Array, scores: Array, kind: str, threshold: float | None = None, classes: Sequence[str] = ()
) -> Statistic:
    """A metric as a function of row weights; `metrics.score` is its value with all weights 1.

    Args:
        metric: One of the kind's metrics.
        labels: As `estimators.label_array` returns them.
        scores: As `estimators.predict_scores` returns them.
    """
    if metric in ("roc_auc", "average_precision"):
        return _ranking(metric, labels, scores)
    if kind == "regression":
        return _regression(metric, labels, scores)
    if metric == "log_loss":
        losses = mean(metrics.log_losses(labels, scores, kind, classes))
        return _with_two_classes(losses, labels) if kind == "binary" else losses
    if metric == "brier":
        return mean((labels - scores) ** 2)
    return of_decisions(metric, labels, metrics.decide(scores, kind, threshold, classes))


def of_decisions(metric: str, labels: Array, decisions: Array) -> Statistic:
    """A metric of decisions as a function of row weights; labels and decisions are of one type, whatever it is."""
    if metric == "accuracy":
        return mean(decisions == labels)
    if metric in ("precision", "recall", "f1"):
        return _of_positives(metric, labels, decisions)
    return _of_classes(metric, labels, decisions)


def mean(values: Array) -> Statistic:
    """The weighted mean of a value for each row."""
    column = np.asarray(values, dtype="float64")
    return lambda weights: float(column @ weights / weights.sum())


def total(values: Array) -> Statistic:
    """The weighted sum of a value for each row."""
    column = np.asarray(values, dtype="float64")
    return lambda weights: float(column @ weights)


def _with_two_classes(statistic: Statistic, labels: Array) -> Statistic:
    positive = np.asarray(labels == 1, dtype="float64")
    return lambda weights: statistic(weights) if 0 < positive @ weights < weights.sum() else NAN


def _ranking(metric: str, labels: Array, scores: Array) -> Statistic:
    """ROC AUC as the share of pairs in the right order, ties half; average precision as sum of precision x recall step.

    Equal scores are one step of the curve: they cannot be told apart by any threshold.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    steps = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    positive = np.asarray(labels[order] == 1, dtype="float64")

    def value(weights: Array) -> float:
        drawn = weights[order]
        at_step = np.add.reduceat(drawn, steps)
        hits = np.add.reduceat(drawn * positive, steps)
        above, misses = np.cumsum(hits), at_step - hits
        positives, negatives = above[-1], misses.sum()
        if not positives or not negatives:
            return NAN
        if metric == "roc_auc":
            return float(misses @ (above - hits / 2) / (positives * negatives))
        precision = above / np.maximum(np.cumsum(at_step), 1e-300)
        return float(hits @ precision / positives)

    return value


def _of_positives(metric: str, labels: Array, decisions: Array) -> Statistic:
    """Precision, recall or F1 of label 1; 0 where there is nothing to divide by, as in `metrics.score`."""
    said, true = decisions == 1, labels == 1
    columns = np.stack([said & true, said, true]).astype("float64")

    def value(weights: Array) -> float:
        hits, decided, there = columns @ weights
        whole = {"precision": decided, "recall": there, "f1": (decided + there) / 2}[metric]
        return float(hits / whole) if whole else 0.0

    return value


def _of_classes(metric: str, labels: Array, decisions: Array) -> Statistic:
    """Balanced accuracy: over the classes among labels. Macro F1: over those among labels or decisions."""
    names = np.unique(np.r_[labels, decisions])
    label, decision = np.searchsorted(names, labels), np.searchsorted(names, decisions)
    right = label == decision

    def value(weights: Array) -> float:
        hits = np.bincount(label, weights * right, len(names))
        there = np.bincount(label, weights, len(names))
        if metric == "balanced_accuracy":
            return float(np.mean(hits[there > 0] / there[there > 0]))
        both = there + np.bincount(decision, weights, len(names))
        return float(np.mean(2 * hits[both > 0] / both[both > 0]))

    return value


def _regression(metric: str, labels: Array, scores: Array) -> Statistic:
    if metric == "mae":
        return mean(np.abs(labels - scores))
    squares = mean((labels - scores) ** 2)
    if metric == "rmse":
        return lambda weights: float(np.sqrt(squares(weights)))

    def r2(weights: Array) -> float:
        centre = labels @ weights / weights.sum()
        spread = (labels - centre) ** 2 @ weights / weights.sum()
        return float(1 - squares(weights) / spread) if spread else NAN

    return r2
