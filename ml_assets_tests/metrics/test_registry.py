"""Every metric agrees with scikit-learn's scorer of its name, with and without weights, and keeps what it declares."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from sklearn import metrics as sk

from ml_assets import metrics
from ml_assets.metrics import METRICS, Kind, ScoredPredictions

KINDS = get_args(Kind)
CASES = [(kind, metric) for kind in KINDS for metric in metrics.names(kind)]
CLASSES = ["a", "b", "c"]


def made(kind: str, seed: int, rows: int = 60) -> ScoredPredictions:
    """Predictions that are better than chance, with ties."""
    rng = np.random.default_rng(seed)
    if kind == "binary":
        labels = rng.integers(0, 2, rows)
        return ScoredPredictions(labels, np.round(np.clip(labels * 0.3 + rng.random(rows) * 0.7, 0, 1), 2), kind, 0.4)
    if kind == "multiclass":
        return ScoredPredictions(rng.choice(CLASSES, rows), rng.dirichlet([1, 1, 1], rows), kind, None, CLASSES)
    labels = rng.normal(size=rows)
    return ScoredPredictions(labels, labels + rng.normal(size=rows), kind)


def by_scorer(metric: str, predictions: ScoredPredictions, weights: np.ndarray | None = None) -> float:
    """The metric by scikit-learn's scorer, made positive again."""
    scorer = sk.get_scorer(METRICS[metric].scorer)
    values = predictions.decisions if METRICS[metric].needs == "decisions" else predictions.scores
    options = scorer._kwargs | ({"labels": CLASSES} if (metric, predictions.kind) == ("log_loss", "multiclass") else {})
    return float(scorer._score_func(predictions.labels, values, sample_weight=weights, **options))


@pytest.mark.parametrize(("kind", "metric"), CASES)
def test_values_are_scikit_learns_with_and_without_weights(kind: str, metric: str) -> None:
    for seed in range(5):
        predictions = made(kind, seed)
        weights = np.random.default_rng(seed).random(60) + 0.1
        assert METRICS[metric].value(predictions) == pytest.approx(by_scorer(metric, predictions), rel=1e-12)
        assert METRICS[metric].weigh(predictions)(np.ones(60)) == pytest.approx(by_scorer(metric, predictions))
        assert METRICS[metric].weigh(predictions)(weights) == pytest.approx(by_scorer(metric, predictions, weights))


@pytest.mark.parametrize(("kind", "metric"), CASES)
def test_direction_and_bounds_are_those_of_the_best_predictions(kind: str, metric: str) -> None:
    predictions, known = made(kind, 1), METRICS[metric]
    labels = predictions.labels
    perfect = (labels[:, None] == np.asarray(CLASSES)).astype(float) if kind == "multiclass" else labels.astype(float)
    best = known.value(ScoredPredictions(labels, perfect, kind, 0.5, CLASSES))
    assert best == pytest.approx(known.bounds[1 if known.is_higher_better else 0], abs=1e-12)
    assert known.gain(best, known.value(predictions)) > 0
    assert known.bounds[0] <= known.value(predictions) <= known.bounds[1]
    assert (sk.get_scorer(known.scorer)._sign > 0) is known.is_higher_better


@pytest.mark.parametrize("metric", metrics.names("binary"))
def test_it_is_defined_on_one_class_as_it_declares(metric: str) -> None:
    known, ones = METRICS[metric], ScoredPredictions(np.ones(5, int), np.arange(5) / 5, "binary")
    assert np.isnan(known.value(ones)) == known.needs_two_classes
    two = made("binary", 2)
    assert np.isnan(known.weigh(two)(two.labels.astype(float))) == known.needs_two_classes


@pytest.mark.parametrize(
    ("metric", "labels", "scores"),
    [("recall", [0, 0], [1, 0]), ("f1", [0, 0], [1, 0]), ("precision", [0, 1], [0, 0])],
)
def test_values_that_tell_nothing(metric: str, labels: list[int], scores: list[int]) -> None:
    assert METRICS[metric].says_nothing(ScoredPredictions(np.array(labels), np.array(scores), "binary"))
    assert not METRICS[metric].says_nothing(made("binary", 3))


def test_balanced_accuracy_of_one_class_tells_nothing() -> None:
    assert METRICS["balanced_accuracy"].says_nothing(ScoredPredictions(np.array(["a", "a"]), np.eye(2), "multiclass"))


@pytest.mark.parametrize(
    ("metric", "value", "other", "gained"),
    [("roc_auc", 0.8, 0.7, 0.1), ("rmse", 2.0, 3.0, 1.0), ("log_loss", 0.5, 0.4, -0.1)],
)
def test_gain_is_positive_for_the_better(metric: str, value: float, other: float, gained: float) -> None:
    assert METRICS[metric].gain(value, other) == pytest.approx(gained)


def test_drops_without_an_upper_end_are_shares() -> None:
    assert [name for name, metric in METRICS.items() if metric.drops_as_share] == ["log_loss", "mae", "rmse"]
    assert METRICS["rmse"].format_drop(0.05) == "5.0%"
    assert METRICS["r2"].format_drop(0.05) == "0.05"


def test_every_kind_has_its_default_and_a_metric_without_a_unit() -> None:
    for chosen in (metrics.DEFAULT, metrics.UNITLESS):
        assert set(chosen) == set(KINDS)
        assert all(chosen[kind] in metrics.names(kind) for kind in KINDS)


def test_binary_decisions_are_by_the_threshold() -> None:
    predictions = made("binary", 0)
    assert METRICS["recall"].value(predictions) == sk.recall_score(predictions.labels, predictions.scores >= 0.4)


def test_multiclass_decisions_are_the_likeliest() -> None:
    predictions = made("multiclass", 0)
    assert metrics.score("accuracy", predictions.labels, predictions.scores, "multiclass", None, CLASSES) == np.mean(
        predictions.decisions == predictions.labels
    )


def test_a_class_that_the_model_does_not_know_had_no_probability() -> None:
    labels, scores = np.array(["a", "new"]), np.array([[0.5, 0.5], [0.5, 0.5]])
    given = ScoredPredictions(labels, scores, "multiclass", None, ["a", "b"]).outcome_probability
    losses = metrics.losses_of(given)
    assert losses[0] == pytest.approx(np.log(2))
    assert 36 < losses[1] < 37
