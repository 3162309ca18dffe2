"""Every metric: a new one is one more `Metric` in `METRICS` and its line in the test beside scikit-learn.

The YAML accepts these names, docs/reference/metrics.md shows them, and everybody who must know which way a metric goes,
where it ends or what it needs asks it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ml_assets.metrics.metric import NAN, Metric
from ml_assets.metrics.predictions import Array, Predictions, ScoredPredictions
from ml_assets.metrics.weighted import Statistic, mean

INF = math.inf


def of_kind(kind: str) -> list[Metric]:
    """Every metric of a kind of target."""
    return [metric for metric in METRICS.values() if kind in metric.kinds]


def names(kind: str) -> list[str]:
    """The names of the metrics of a kind of target."""
    return [metric.name for metric in of_kind(kind)]


def score(
    metric: str, labels: Array, scores: Array, kind: str, threshold: float | None = None, classes: Sequence[str] = ()
) -> float:
    """One metric of a model's scores; NaN where it is not defined."""
    return METRICS[metric].value(ScoredPredictions(labels, scores, kind, threshold, classes))


def statistic(
    metric: str, labels: Array, scores: Array, kind: str, threshold: float | None = None, classes: Sequence[str] = ()
) -> Statistic:
    """A metric of a model's scores as a function of row weights; `score` is its value with all weights 1."""
    return METRICS[metric].weigh(ScoredPredictions(labels, scores, kind, threshold, classes))


def losses_of(outcome_probability: Array) -> Array:
    """Each row's negative log of the probability that its outcome was given.

    None counts as less than the smallest step from 0, as in scikit-learn.
    """
    smallest = np.finfo(outcome_probability.dtype).eps
    losses: Array = -np.log(np.clip(outcome_probability, smallest, 1 - smallest))
    return losses


def _log_losses(of: Predictions) -> Array:
    if of.outcome_probability is None:
        raise ValueError("no probability of the outcomes is known")
    return losses_of(of.outcome_probability)


def _sklearn(function: str, needs: str, **options: Any) -> Callable[[Predictions], float]:
    def compute(of: Predictions) -> float:
        from sklearn import metrics

        return float(getattr(metrics, function)(of.labels, getattr(of, needs), **options))

    return compute


def _ranking(of_steps: Callable[[Array, Array, Array], float]) -> Callable[[Predictions], Statistic]:
    """A metric of the order of the scores, from positives at, negatives at and positives down to each score.

    Equal scores are one step of the curve: they cannot be told apart by any threshold.
    """

    def weigh(of: Predictions) -> Statistic:
        order = np.argsort(-of.scores, kind="stable")
        ranked = of.scores[order]
        steps = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        positive = np.asarray(of.labels[order] == 1, dtype="float64")

        def value(weights: Array) -> float:
            in_order = weights[order]
            at_step = np.add.reduceat(in_order, steps)
            hits = np.add.reduceat(in_order * positive, steps)
            above, misses = np.cumsum(hits), at_step - hits
            return of_steps(hits, at_step, above) if above[-1] and misses.sum() else NAN

        return value

    return weigh


def _roc_auc(hits: Array, at_step: Array, above: Array) -> float:
    """The share of pairs in the right order, ties half."""
    misses = at_step - hits
    return float(misses @ (above - hits / 2) / (above[-1] * misses.sum()))


def _average_precision(hits: Array, at_step: Array, above: Array) -> float:
    """Sum of precision x recall step."""
    precision = above / np.maximum(np.cumsum(at_step), 1e-300)
    return float(hits @ precision / above[-1])


def _of_positives(whole: Callable[[float, float], float]) -> Callable[[Predictions], Statistic]:
    """Hits as a share of a whole of positive decisions and positive labels; 0 where there is nothing to divide by."""

    def weigh(of: Predictions) -> Statistic:
        decided, positive = of.decisions == 1, of.labels == 1
        columns = np.stack([decided & positive, decided, positive]).astype("float64")

        def value(weights: Array) -> float:
            hits, decisions, positives = columns @ weights
            divisor = whole(decisions, positives)
            return float(hits / divisor) if divisor else 0.0

        return value

    return weigh


def _codes(of: Predictions) -> tuple[Array, Array, int]:
    """Labels and decisions as codes of the classes that occur among either, and how many these are."""
    names = np.unique(np.r_[of.labels, of.decisions])
    return np.searchsorted(names, of.labels), np.searchsorted(names, of.decisions), len(names)


def _balanced_accuracy(of: Predictions) -> float:
    # scikit-learn's own warns when a class is predicted that the labels lack, as small slices often do.
    labels, decisions = of.labels, of.decisions
    return float(np.mean([np.mean(decisions[labels == value] == value) for value in np.unique(labels)]))


def _weighted_balanced_accuracy(of: Predictions) -> Statistic:
    label, decision, classes = _codes(of)
    right = label == decision

    def value(weights: Array) -> float:
        hits = np.bincount(label, weights * right, classes)
        labelled = np.bincount(label, weights, classes)
        return float(np.mean(hits[labelled > 0] / labelled[labelled > 0]))

    return value


def _weighted_f1_macro(of: Predictions) -> Statistic:
    label, decision, classes = _codes(of)
    right = label == decision

    def value(weights: Array) -> float:
        hits = np.bincount(label, weights * right, classes)
        both = np.bincount(label, weights, classes) + np.bincount(decision, weights, classes)
        return float(np.mean(2 * hits[both > 0] / both[both > 0]))

    return value


def _log_loss(of: Predictions) -> float:
    if of.kind == "binary":
        return _sklearn("log_loss", "scores", labels=[0, 1])(of)
    return float(_log_losses(of).mean())


def _weighted_log_loss(of: Predictions) -> Statistic:
    losses = mean(_log_losses(of))
    if of.kind != "binary":
        return losses
    positive = np.asarray(of.labels == 1, dtype="float64")
    return lambda weights: losses(weights) if 0 < positive @ weights < weights.sum() else NAN


def _weighted_r2(of: Predictions) -> Statistic:
    labels, squares = of.labels, mean((of.labels - of.scores) ** 2)

    def value(weights: Array) -> float:
        centre = labels @ weights / weights.sum()
        spread = (labels - centre) ** 2 @ weights / weights.sum()
        return float(1 - squares(weights) / spread) if spread else NAN

    return value


def _weighted_rmse(of: Predictions) -> Statistic:
    squares = mean((of.labels - of.scores) ** 2)
    return lambda weights: float(np.sqrt(squares(weights)))


def _no_positive_label(of: Predictions) -> bool:
    return not (of.labels == 1).any()


_ALL = (
    Metric(
        name="roc_auc",
        description="Probability that a row of class 1 has a higher score than one of class 0.",
        kinds=("binary",),
        is_higher_better=True,
        bounds=(0, 1),
        needs="scores",
        scorer="roc_auc",
        compute=_sklearn("roc_auc_score", "scores"),
        weigh=_ranking(_roc_auc),
        needs_two_classes=True,
    ),
    Metric(
        name="average_precision",
        description="Area under the precision-recall curve, as a sum of its steps.",
        kinds=("binary",),
        is_higher_better=True,
        bounds=(0, 1),
        needs="scores",
        scorer="average_precision",
        compute=_sklearn("average_precision_score", "scores"),
        weigh=_ranking(_average_precision),
        needs_two_classes=True,
    ),
    Metric(
        name="accuracy",
        description="Share of right decisions.",
        kinds=("binary", "multiclass"),
        is_higher_better=True,
        bounds=(0, 1),
        needs="decisions",
        scorer="accuracy",
        compute=_sklearn("accuracy_score", "decisions"),
        weigh=lambda of: mean(of.decisions == of.labels),
    ),
    Metric(
        name="balanced_accuracy",
        description="Mean over the classes of the share of their rows that are decided right.",
        kinds=("binary", "multiclass"),
        is_higher_better=True,
        bounds=(0, 1),
        needs="decisions",
        scorer="balanced_accuracy",
        compute=_balanced_accuracy,
        weigh=_weighted_balanced_accuracy,
        says_nothing=lambda of: bool((of.labels == of.labels[0]).all()),
    ),
    Metric(
        name="precision",
        description="Share of the rows decided 1 that are 1.",
        kinds=("binary",),
        is_higher_better=True,
        bounds=(0, 1),
        needs="decisions",
        scorer="precision",
        compute=_sklearn("precision_score", "decisions", zero_division=0),
        weigh=_of_positives(lambda decisions, _: decisions),
        says_nothing=lambda of: not (of.decisions == 1).any(),
    ),
    Metric(
        name="recall",
        description="Share of the rows that are 1 that are decided 1.",
        kinds=("binary",),
        is_higher_better=True,
        bounds=(0, 1),
        needs="decisions",
        scorer="recall",
        compute=_sklearn("recall_score", "decisions", zero_division=0),
        weigh=_of_positives(lambda _, positives: positives),
        says_nothing=_no_positive_label,
    ),
    Metric(
        name="f1",
        description="Harmonic mean of precision and recall.",
        kinds=("binary",),
        is_higher_better=True,
        bounds=(0, 1),
        needs="decisions",
        scorer="f1",
        compute=_sklearn("f1_score", "decisions", zero_division=0),
        weigh=_of_positives(lambda decisions, positives: (decisions + positives) / 2),
        says_nothing=_no_positive_label,
    ),
    Metric(
        name="f1_macro",
        description="Mean over the classes of the F1 of each.",
        kinds=("multiclass",),
        is_higher_better=True,
        bounds=(0, 1),
        needs="decisions",
        scorer="f1_macro",
        compute=_sklearn("f1_score", "decisions", average="macro", zero_division=0),
        weigh=_weighted_f1_macro,
    ),
    Metric(
        name="log_loss",
        description="Mean negative log of the probability that the model gave to the true class.",
        kinds=("binary", "multiclass"),
        is_higher_better=False,
        bounds=(0, INF),
        needs="outcome_probability",
        scorer="neg_log_loss",
        compute=_log_loss,
        weigh=_weighted_log_loss,
        needs_two_classes=True,
    ),
    Metric(
        name="brier",
        description="Mean squared difference between the probability of 1 and the label.",
        kinds=("binary",),
        is_higher_better=False,
        bounds=(0, 1),
        needs="scores",
        scorer="neg_brier_score",
        compute=_sklearn("brier_score_loss", "scores"),
        weigh=lambda of: mean((of.labels - of.scores) ** 2),
    ),
    Metric(
        name="r2",
        description="Share of the variance that the predictions explain; below 0 they are worse than the mean.",
        kinds=("regression",),
        is_higher_better=True,
        bounds=(-INF, 1),
        needs="scores",
        scorer="r2",
        compute=_sklearn("r2_score", "scores"),
        weigh=_weighted_r2,
    ),
    Metric(
        name="mae",
        description="Mean absolute error, in the unit of the target.",
        kinds=("regression",),
        is_higher_better=False,
        bounds=(0, INF),
        needs="scores",
        scorer="neg_mean_absolute_error",
        compute=_sklearn("mean_absolute_error", "scores"),
        weigh=lambda of: mean(np.abs(of.labels - of.scores)),
    ),
    Metric(
        name="rmse",
        description="Root of the mean squared error, in the unit of the target.",
        kinds=("regression",),
        is_higher_better=False,
        bounds=(0, INF),
        needs="scores",
        scorer="neg_root_mean_squared_error",
        compute=_sklearn("root_mean_squared_error", "scores"),
        weigh=_weighted_rmse,
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
# What a pipeline is tuned by that names no metric.
DEFAULT = {"binary": "roc_auc", "multiclass": "balanced_accuracy", "regression": "rmse"}
# Those whose value says how good a model is whatever the target's unit and classes are.
UNITLESS = {"binary": "roc_auc", "multiclass": "balanced_accuracy", "regression": "r2"}
