"""Metrics agree with scikit-learn and with brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from ml_assets.ml import metrics

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 500)
SCORES = np.clip(LABELS * 0.3 + RNG.random(500) * 0.7, 0, 1)


def test_binary_metrics() -> None:
    found = metrics.all_scores(LABELS, SCORES, "binary", 0.4)
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(LABELS, SCORES))
    assert found["recall"] == pytest.approx(sk.recall_score(LABELS, SCORES >= 0.4))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(LABELS, SCORES >= 0.4))


def test_one_class_is_undefined_not_wrong() -> None:
    assert np.isnan(metrics.score("roc_auc", np.ones(5), np.arange(5) / 5, "binary"))
    assert metrics.score("accuracy", np.ones(5, int), np.ones(5), "binary") == 1


@pytest.mark.parametrize(
    ("metric", "value", "other", "gained"),
    [("roc_auc", 0.8, 0.7, 0.1), ("rmse", 2.0, 3.0, 1.0), ("log_loss", 0.5, 0.4, -0.1)],
)
def test_gain_is_positive_for_the_better(metric: str, value: float, other: float, gained: float) -> None:
    assert metrics.gain(metric, value, other) == pytest.approx(gained)


def test_multiclass_and_regression() -> None:
    classes = ["a", "b", "c"]
    labels = RNG.choice(classes, 200)
    scores = RNG.dirichlet([1, 1, 1], 200)
    decided = metrics.decide(scores, "multiclass", None, classes)
    assert metrics.score("accuracy", labels, scores, "multiclass", None, classes) == np.mean(decided == labels)
    values = RNG.normal(size=50)
    assert metrics.score("rmse", values, values + 2, "regression") == pytest.approx(2)


def test_a_class_that_the_model_does_not_know_had_no_probability() -> None:
    losses = metrics.log_losses(np.array(["a", "new"]), np.array([[0.5, 0.5], [0.5, 0.5]]), "multiclass", ["a", "b"])
    assert losses[0] == pytest.approx(np.log(2))
    assert 36 < losses[1] < 37


def test_calibration_error_of_true_and_of_bold_probabilities() -> None:
    rng = np.random.default_rng(3)
    said = rng.random(5000)
    came = (rng.random(5000) < said).astype(int)
    assert metrics.calibration_error(said, came) < metrics.calibration_by_chance(said, 0) < 0.05
    bold = np.where(said > 0.5, 0.99, 0.01)
    assert metrics.calibration_error(bold, came) == pytest.approx(0.24, abs=0.02)
    assert metrics.calibration_by_chance(said[:50], 0) > 0.1


def test_equal_probabilities_share_a_bin() -> None:
    came = np.r_[np.ones(30), np.zeros(70)]
    assert metrics.calibration_error(np.full(100, 0.3), came) == pytest.approx(0)
    assert metrics.calibration_error(np.full(100, 0.8), came) == pytest.approx(0.5)


@pytest.mark.parametrize(("false_positive", "false_negative"), [(1, 1), (1, 4), (10, 1), (0, 1), (1, 0)])
def test_the_cheapest_threshold_is_the_brute_force_one(false_positive: float, false_negative: float) -> None:
    def cost(threshold: float) -> float:
        decided = threshold <= SCORES
        return float(
            false_positive * np.sum(decided & (LABELS == 0)) + false_negative * np.sum(~decided & (LABELS == 1))
        )

    chosen = metrics.cheapest_threshold(LABELS, SCORES, false_positive, false_negative)
    assert cost(chosen) == min(cost(t) for t in [*np.unique(SCORES), 2.0])


def test_ties_are_decided_together() -> None:
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.5, 0.5, 0.5, 0.1])
    assert metrics.cheapest_threshold(labels, scores, 1, 1) == 0.5


def test_the_dummy_knows_the_prior_only() -> None:
    assert metrics.dummy_score("roc_auc", LABELS, LABELS, "binary") == 0.5
    assert metrics.dummy_score("rmse", np.array([1.0, 3.0]), np.array([2.0, 2.0]), "regression") == 0
