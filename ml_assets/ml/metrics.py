"""Metrics on held-out rows, their bootstrap intervals, and the threshold that costs least.

Scores are arrays as `estimators.predict_scores` returns them; `spec.METRICS` names the metrics and their direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

RESAMPLES = 200


def greater_is_better(metric: str) -> bool:
    """Direction of a metric."""
    from ml_assets.spec import METRICS

    return next(direction[metric] for direction in METRICS.values() if metric in direction)


def gain(metric: str, value: float, other: float) -> float:
    """How much better `value` is than `other`; positive is better whatever the metric's direction."""
    return value - other if greater_is_better(metric) else other - value


def decide(scores: Array, kind: str, threshold: float | None, classes: Sequence[str] = ()) -> Array:
    """Decisions from scores: 0/1 by threshold, the likeliest class, or the value itself."""
    if kind == "binary":
        return (scores >= (0.5 if threshold is None else threshold)).astype(int)
    return np.asarray(classes)[scores.argmax(axis=1)] if kind == "multiclass" else scores


# A drop of these is a share of what it dropped from: their unit is the target's, or has no upper end.
AS_SHARE = frozenset({"mae", "rmse", "log_loss"})


def drop(metric: str, value: float | None, before: float | None) -> float | None:
    """How much worse a value is than the one before; of `AS_SHARE` as a share of it."""
    if value is None or before is None:
        return None
    loss = gain(metric, before, value)
    return loss / before if metric in AS_SHARE and before else loss


def score(
    metric: str, labels: Array, scores: Array, kind: str, threshold: float | None = None, classes: Sequence[str] = ()
) -> float:
    """One metric; NaN where it is not defined, such as ROC AUC over one class."""
    if kind == "binary" and metric in ("roc_auc", "average_precision", "log_loss") and len(np.unique(labels)) < 2:
        return float("nan")
    return float(_functions(kind, threshold, classes)[metric](labels, scores))


def all_scores(
    labels: Array, scores: Array, kind: str, threshold: float | None = None, classes: Sequence[str] = ()
) -> dict[str, float]:
    """Every metric of the kind."""
    return {
        metric: score(metric, labels, scores, kind, threshold, classes)
        for metric in _functions(kind, threshold, classes)
    }


def _functions(
    kind: str, threshold: float | None, classes: Sequence[str]
) -> dict[str, Callable[[Array, Array], float]]:
    from sklearn import metrics as m

    def decided(function: Callable[..., Any], **options: Any) -> Callable[[Array, Array], float]:
        return lambda y, s: function(y, decide(s, kind, threshold, classes), **options)

    if kind == "regression":
        return {
            "r2": m.r2_score,
            "mae": m.mean_absolute_error,
            "rmse": m.root_mean_squared_error,
        }
    if kind == "multiclass":
        return {
            "accuracy": decided(m.accuracy_score),
            "balanced_accuracy": decided(_balanced_accuracy),
            "f1_macro": decided(m.f1_score, average="macro", zero_division=0),
            "log_loss": lambda y, s: log_losses(y, s, kind, classes).mean(),
        }
    return {
        "roc_auc": m.roc_auc_score,
        "average_precision": m.average_precision_score,
        "accuracy": decided(m.accuracy_score),
        "balanced_accuracy": decided(_balanced_accuracy),
        "precision": decided(m.precision_score, zero_division=0),
        "recall": decided(m.recall_score, zero_division=0),
        "f1": decided(m.f1_score, zero_division=0),
        "log_loss": lambda y, s: m.log_loss(y, s, labels=[0, 1]),
        "brier": m.brier_score_loss,
    }


def _balanced_accuracy(labels: Array, decisions: Array) -> float:
    """Mean recall over the classes that occur in the labels.

    scikit-learn's own warns when a class is predicted that the labels lack, as small slices often do.
    """
    return float(np.mean([np.mean(decisions[labels == value] == value) for value in np.unique(labels)]))


def log_losses(labels: Array, scores: Array, kind: str, classes: Sequence[str] = ()) -> Array:
    """Each row's negative log of the probability that the model gave to what came true.

    A class that the model does not know had no probability; none counts as less than the smallest step from 0, as in
    scikit-learn.
    """
    if kind == "binary":
        given = np.where(labels == 1, scores, 1 - scores)
    else:
        given = (scores * (labels[:, None] == np.asarray(classes)[None, :])).sum(axis=1)
    return losses_of(given)


def losses_of(given: Array) -> Array:
    """The log losses of rows whose outcome was given these probabilities."""
    smallest = np.finfo(given.dtype).eps
    losses: Array = -np.log(np.clip(given, smallest, 1 - smallest))
    return losses


def most_frequent(labels: Array) -> Any:
    """The label that most rows have; of equally frequent ones the first in order."""
    values, counts = np.unique(labels, return_counts=True)
    return values[counts.argmax()]


def interval(values: Array, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap values without the undefined ones; NaN where none is left."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def dummy_scores(train: Array, rows: int, kind: str) -> Array:
    """What a model says that ignores every feature: scikit-learn's dummy with the training prior or mean."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    from ml_assets.ml.estimators import predict_scores

    dummy = DummyRegressor() if kind == "regression" else DummyClassifier(strategy="prior")
    dummy.fit(np.zeros((len(train), 1)), train)
    return predict_scores(dummy, np.zeros((rows, 1)), kind)


def dummy_score(
    metric: str, train: Array, labels: Array, kind: str, threshold: float | None = None, classes: Sequence[str] = ()
) -> float:
    """The metric of a model that ignores every feature."""
    return score(metric, labels, dummy_scores(train, len(labels), kind), kind, threshold, classes)


def calibration_bins(said: Array, bins: int = 10) -> Array:
    """The bin of each probability: bins of about equally many rows; equal probabilities stay together."""
    edges = np.quantile(said, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, said, side="right")


def calibration_curve(said: Array, came: Array) -> tuple[Array, Array, Array]:
    """Mean probability, share that came true, and rows of each bin that has rows.

    Args:
        said: Probabilities, shape (n,).
        came: Whether each came true, shape (n,).
    """
    place = calibration_bins(said)
    rows = np.bincount(place)
    used = rows > 0
    mean_said, mean_came = (np.bincount(place, values)[used] / rows[used] for values in (said, came))
    return mean_said, mean_came, rows[used]


def calibration_error(said: Array, came: Array) -> float:
    """Expected calibration error: how far bins are from what they said, weighted by rows. Guo et al. 2017, eq. 3."""
    mean_said, mean_came, rows = calibration_curve(said, came)
    return float(np.abs(mean_said - mean_came) @ rows / rows.sum())


def calibration_by_chance(said: Array, seed: int) -> float:
    """The calibration error that true probabilities stay below 19 times of 20: on few rows it is not small."""
    rng = np.random.default_rng(seed)
    place = calibration_bins(said)
    found = [
        np.abs(np.bincount(place, said - (rng.random(len(said)) < said))).sum() / len(said) for _ in range(RESAMPLES)
    ]
    return float(np.quantile(found, 0.95))


def cheapest_threshold(labels: Array, scores: Array, false_positive: float, false_negative: float) -> float:
    """The threshold with the least total cost on these rows; a tie goes to the highest threshold.

    Args:
        labels: 0/1, shape (n,).
        scores: Probability of 1, shape (n,).
        false_positive: Cost of deciding 1 where the label is 0.
        false_negative: Cost of deciding 0 where the label is 1.
    """
    order = np.argsort(-scores, kind="stable")
    found = labels[order] == 1
    # Deciding 1 for the k highest scores, k = 0..n; only cuts between different scores can be made.
    costs = false_positive * np.r_[0, np.cumsum(~found)] + false_negative * (found.sum() - np.r_[0, np.cumsum(found)])
    ranked = scores[order]
    possible = np.r_[True, ranked[1:] != ranked[:-1], True]
    costs = np.where(possible, costs, np.inf)
    cut = int(np.argmin(costs))
    if cut == 0:
        return float(np.nextafter(ranked[0], np.inf)) if len(ranked) else 0.5
    return float(ranked[cut - 1])
