"""Metrics under row weights are scikit-learn's, and the bootstrap's intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from ml_assets import metrics
from ml_assets.metrics import weighted

RNG = np.random.default_rng(0)
ROWS = 400
CLASSES = ["a", "b", "c"]
LABELS = RNG.integers(0, 2, ROWS)
FINE = np.clip(LABELS * 0.3 + RNG.random(ROWS) * 0.7, 0.01, 0.99)
SCORES = np.round(FINE, 1)  # many ties
NAMES = RNG.choice(CLASSES, ROWS)
SHARES = RNG.dirichlet([1, 1, 1], ROWS)
VALUES = RNG.normal(size=ROWS)
GUESSES = VALUES + RNG.normal(size=ROWS)
DRAWN = np.bincount(RNG.integers(0, ROWS, ROWS), minlength=ROWS).astype(float)
WEIGHTS = RNG.random(ROWS) + 0.1
DATA = {
    "binary": (LABELS, SCORES, "binary", 0.4, ()),
    "multiclass": (NAMES, SHARES, "multiclass", None, CLASSES),
    "regression": (VALUES, GUESSES, "regression", None, ()),
}


@pytest.mark.parametrize(("kind", "metric"), [(kind, metric) for kind in DATA for metric in metrics.names(kind)])
def test_a_resample_has_the_metric_of_its_rows(kind: str, metric: str) -> None:
    labels, scores, *rest = DATA[kind]
    statistic = metrics.statistic(metric, labels, scores, *rest)
    assert statistic(np.ones(ROWS)) == pytest.approx(metrics.score(metric, labels, scores, *rest))
    rows = np.repeat(np.arange(ROWS), DRAWN.astype(int))
    assert statistic(DRAWN) == pytest.approx(metrics.score(metric, labels[rows], scores[rows], *rest))


SAID = (SCORES >= 0.4).astype(int)
DECIDED = np.asarray(CLASSES)[SHARES.argmax(axis=1)]


@pytest.mark.parametrize(
    ("kind", "metric", "expected"),
    [
        ("binary", "roc_auc", sk.roc_auc_score(LABELS, SCORES, sample_weight=WEIGHTS)),
        ("binary", "average_precision", sk.average_precision_score(LABELS, SCORES, sample_weight=WEIGHTS)),
        ("binary", "accuracy", sk.accuracy_score(LABELS, SAID, sample_weight=WEIGHTS)),
        ("binary", "balanced_accuracy", sk.balanced_accuracy_score(LABELS, SAID, sample_weight=WEIGHTS)),
        ("binary", "precision", sk.precision_score(LABELS, SAID, sample_weight=WEIGHTS)),
        ("binary", "recall", sk.recall_score(LABELS, SAID, sample_weight=WEIGHTS)),
        ("binary", "f1", sk.f1_score(LABELS, SAID, sample_weight=WEIGHTS)),
        ("binary", "log_loss", sk.log_loss(LABELS, SCORES, sample_weight=WEIGHTS)),
        ("binary", "brier", sk.brier_score_loss(LABELS, SCORES, sample_weight=WEIGHTS)),
        ("multiclass", "accuracy", sk.accuracy_score(NAMES, DECIDED, sample_weight=WEIGHTS)),
        ("multiclass", "balanced_accuracy", sk.balanced_accuracy_score(NAMES, DECIDED, sample_weight=WEIGHTS)),
        ("multiclass", "f1_macro", sk.f1_score(NAMES, DECIDED, average="macro", sample_weight=WEIGHTS)),
        ("multiclass", "log_loss", sk.log_loss(NAMES, SHARES, labels=CLASSES, sample_weight=WEIGHTS)),
        ("regression", "r2", sk.r2_score(VALUES, GUESSES, sample_weight=WEIGHTS)),
        ("regression", "mae", sk.mean_absolute_error(VALUES, GUESSES, sample_weight=WEIGHTS)),
        ("regression", "rmse", sk.root_mean_squared_error(VALUES, GUESSES, sample_weight=WEIGHTS)),
    ],
)
def test_weights_are_those_of_scikit_learn(kind: str, metric: str, expected: float) -> None:
    labels, scores, *rest = DATA[kind]
    assert metrics.statistic(metric, labels, scores, *rest)(WEIGHTS) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "log_loss"])
def test_resamples_of_one_class_are_undefined(metric: str) -> None:
    statistic = metrics.statistic(metric, LABELS, SCORES, "binary")
    assert np.isnan(statistic(np.where(LABELS == 1, 1.0, 0.0)))


def test_a_class_that_is_only_decided_has_no_recall_but_counts_in_f1() -> None:
    labels, shares = np.array(["a", "b", "b"]), np.eye(3)
    balanced, f1 = (
        metrics.statistic(metric, labels, shares, "multiclass", None, CLASSES)(np.ones(3))
        for metric in ("balanced_accuracy", "f1_macro")
    )
    assert balanced == 0.75
    assert f1 == pytest.approx(sk.f1_score(labels, CLASSES, average="macro"))


def drawn(metric: str, rows: int, scores: np.ndarray = SCORES) -> np.ndarray:
    return weighted.bootstrap([metrics.statistic(metric, LABELS[:rows], scores[:rows], "binary")], rows)[:, 0]


def test_the_interval_holds_the_value_and_narrows_with_rows() -> None:
    def width(rows: int) -> float:
        low, high = weighted.interval(drawn("roc_auc", rows))
        assert low < metrics.score("roc_auc", LABELS[:rows], SCORES[:rows], "binary") < high
        return high - low

    assert width(400) < width(60)


def test_paired_gain_is_surer_than_two_single_intervals() -> None:
    better = np.clip(FINE + (LABELS - 0.5) * 0.02, 0, 1)
    own, other = drawn("roc_auc", ROWS, better), drawn("roc_auc", ROWS, FINE)
    assert weighted.interval(own - other)[0] > 0
    assert weighted.interval(own)[0] < metrics.score("roc_auc", LABELS, FINE, "binary")


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(100):
        values = rng.normal(size=80)
        low, high = weighted.interval(weighted.bootstrap([weighted.mean(values)], 80, seed)[:, 0])
        covered += low < 0 < high
    assert 86 <= covered <= 100


def test_undefined_resamples_leave_the_interval_alone() -> None:
    assert weighted.interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert all(np.isnan(weighted.interval(np.array([np.nan]))))
