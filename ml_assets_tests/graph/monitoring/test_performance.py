"""Live scores: the right numbers on the right rows, and a verdict only where one can be given."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from ml_assets import metrics
from ml_assets.errors import BatchRefused
from ml_assets.graph.monitoring import performance
from ml_assets.graph.monitoring.performance import Score, StoredPredictions, verdict
from ml_assets.lake.frames import store
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.lake.paths import Paths
from ml_assets.metrics import weighted
from ml_assets.spec import Performance, PipelineSpec
from ml_assets.tables import predictions
from ml_assets.tables.predictions import ScoredBy
from ml_assets_tests.conftest import SPEC

LIMITS = Performance(max_drop=0.05, min_rows=100)


def spec(kind: str = "binary", sql: str = "late_days > 10", **performance: Any) -> PipelineSpec:
    made = copy.deepcopy(SPEC) | {"target": {"name": "late", "sql": sql, "kind": kind}, "gates": {}}
    return PipelineSpec.model_validate(made | {"monitoring": {"performance": {"min_rows": 100, **performance}}})


@pytest.mark.parametrize(
    ("metric", "value", "promise", "lost"),
    [
        ("roc_auc", 0.7, 0.8, 0.1),
        ("roc_auc", 0.9, 0.8, -0.1),
        ("brier", 0.3, 0.2, 0.1),
        ("log_loss", 0.6, 0.5, 0.2),  # a fifth worse
        ("rmse", 8.0, 10.0, -0.2),
        ("r2", 0.5, None, None),
        ("roc_auc", None, 0.8, None),
    ],
)
def test_a_drop_is_how_much_worse(metric: str, value: float | None, promise: float | None, lost: float | None) -> None:
    found = metrics.METRICS[metric].drop(value, promise)
    assert found == (None if lost is None else pytest.approx(lost))


@pytest.mark.parametrize(
    ("score", "rows", "promise", "seen", "decayed", "why"),
    [
        (
            Score(0.70, 0.66, 0.74),
            1000,
            0.8,
            False,
            True,
            "Decayed: roc_auc 0.7 [0.66, 0.74] on 1,000 rows; test score",
        ),
        (Score(0.76, 0.74, 0.78), 1000, 0.8, False, False, "Worse by 0.04, the limit is 0.05"),
        (Score(0.70, 0.50, 0.85), 1000, 0.8, False, False, "the interval includes the test score"),
        (Score(0.82, 0.80, 0.84), 1000, 0.8, False, False, "Not worse"),
        (Score(0.70, 0.66, 0.74), 99, 0.8, False, None, "99 rows with a known outcome are fewer than 100"),
        (Score(0.70, 0.66, 0.74), 1000, 0.8, True, None, "the version has seen this batch"),
        (Score(0.70, 0.66, 0.74), 1000, 0.8, None, None, "it is not known whether"),
        (Score(), 1000, 0.8, False, None, "not defined on these rows"),
        (Score(0.70, 0.66, 0.74), 1000, None, False, None, "evaluation_report has no roc_auc"),
    ],
)
def test_verdicts(
    score: Score, rows: int, promise: float | None, seen: bool | None, decayed: bool | None, why: str
) -> None:
    found = verdict("roc_auc", score, rows, promise, seen, LIMITS)
    assert found[0] is decayed
    assert why in found[1]


def test_the_verdict_on_a_loss_looks_the_other_way() -> None:
    worse, better = Score(12.0, 11.0, 13.0), Score(8.0, 7.0, 9.0)
    assert verdict("rmse", worse, 1000, 10.0, False, LIMITS)[0] is True
    assert "Worse by 20.0%, more than the limit of 5.0%" in verdict("rmse", worse, 1000, 10.0, False, LIMITS)[1]
    assert verdict("rmse", better, 1000, 10.0, False, LIMITS)[0] is False


def test_metrics_of_kept_predictions_are_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    classes = np.array(["a", "b", "c"])
    probabilities = rng.dirichlet([2, 2, 2], 300)
    labels, decided = rng.integers(0, 3, 300), probabilities.argmax(axis=1)
    predicted = StoredPredictions(
        "multiclass", labels, probabilities.max(axis=1), decided, probabilities[np.arange(300), labels]
    )
    expected = {
        "accuracy": sk.accuracy_score(labels, decided),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, decided),
        "f1_macro": sk.f1_score(labels, decided, average="macro"),
        "log_loss": sk.log_loss(classes[labels], probabilities, labels=classes),
    }
    for metric in metrics.names("multiclass"):
        assert metrics.METRICS[metric].is_known(predicted)
        assert metrics.METRICS[metric].weigh(predicted)(np.ones(300)) == pytest.approx(expected[metric]), metric
    unknown = StoredPredictions("multiclass", labels, predicted.scores, decided)
    assert not metrics.METRICS["log_loss"].is_known(unknown)


def test_intervals_of_a_sample_are_as_wide_as_all_rows_would_have_them() -> None:
    rng = np.random.default_rng(4)
    rows, size = 8000, 500
    predicted = StoredPredictions("regression", rng.normal(0, 1, rows), np.zeros(rows), np.zeros(rows))
    mae = metrics.score("mae", predicted.labels, predicted.scores, "regression")
    values = {
        ("1.0.0", metric): metrics.score(metric, predicted.labels, predicted.scores, "regression")
        for metric in metrics.names("regression")
    }
    sampled = performance.with_intervals(values, {"1.0.0": predicted.at(np.arange(size))}, "regression", size, rows, 0)
    score = sampled["1.0.0", "mae"]
    assert score.value == mae
    assert score.low is not None
    assert score.high is not None
    draws = weighted.bootstrap([metrics.statistic("mae", predicted.labels, predicted.scores, "regression")], rows, 0)
    low, high = weighted.interval(draws[:, 0])
    assert score.high - score.low == pytest.approx(high - low, rel=0.35)  # unscaled it would be four times as wide
    assert score.low < mae < score.high


# -- on a lake -----------------------------------------------------------------------------------------------------


def fill(lake: Lake, **tables: pd.DataFrame) -> None:
    for asset_name, frame in tables.items():
        store(lake.con, f"made_{asset_name}", frame)
        batch = "5" if asset_name in ("predictions", "validated_data") else None
        lake.replace([Put(f"loans.{asset_name}", f"made_{asset_name}", batch)], Commit(asset=f"loans/{asset_name}"))


def rows_of(rows: int) -> pd.DataFrame:
    """Every tenth row has no outcome yet; half of the others are late."""
    number = np.arange(rows)
    days = np.where(number % 10 == 9, np.nan, np.where(number % 2 == 0, 30.0, 0.0))
    return pd.DataFrame({"batch": "5", "row_id": number, "loan": number, "late_days": days})


def predictions_of(truth: pd.DataFrame, version: str, role: str, noise: float, seen: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    score = np.clip(0.5 + 0.2 * np.sign(truth["late_days"].fillna(0) - 10) + rng.normal(0, noise, len(truth)), 0, 1)
    made = truth[["batch", "row_id"]].assign(model_version=version, role=role, score=score)
    return made.assign(decision=(score >= 0.5).astype(int).astype(str), threshold=0.5, seen=seen)


def promises(**scores: float) -> pd.DataFrame:
    made = [{"version": "1.0.0", "scope": "test", "metric": metric, "value": value} for metric, value in scores.items()]
    return pd.DataFrame(made).assign(evaluated_at=pd.Timestamp("2024-01-01"))


@pytest.fixture
def paths(lake: Lake) -> Paths:
    return Paths(lake.folder, lake.folder)


def test_versions_are_scored_on_the_rows_that_all_have_answered(lake: Lake, paths: Paths) -> None:
    truth = rows_of(400)
    champion = predictions_of(truth, "1.0.0", "champion", 0.4)
    shadow = predictions_of(truth, "1.0.1", "shadow", 0.1).head(300)
    fill(
        lake, validated_data=truth, predictions=pd.concat([champion, shadow]), evaluation_report=promises(roc_auc=0.99)
    )
    rows = performance.report(lake, paths, spec(), "5")
    by = {(row["model_version"], row["metric"]): row for row in rows}
    both = truth.head(300).merge(champion).dropna(subset="late_days")
    auc = sk.roc_auc_score(both["late_days"] > 10, both["score"])
    assert set(by) == {(version, metric) for version in ("1.0.0", "1.0.1") for metric in metrics.names("binary")}
    judged, other = by["1.0.0", "roc_auc"], by["1.0.1", "roc_auc"]
    assert {row["rows"] for row in rows} == {270}
    assert (judged["value"], judged["judged"], judged["decayed"]) == (pytest.approx(auc), True, True)
    assert [row["metric"] for row in rows if row["judged"]] == ["roc_auc"]
    assert other["gain"] == pytest.approx(other["value"] - auc)
    assert 0 < other["gain_low"] < other["gain"] < other["gain_high"]
    assert (judged["gain"], other["decayed"], other["why"], other["test_score"]) == (None, None, None, None)


def test_what_an_earlier_version_wrote_is_the_champions(lake: Lake, paths: Paths) -> None:
    truth = rows_of(200)
    old = predictions_of(truth, "1.0.0", "champion", 0.4).drop(columns=["role", "seen"])
    fill(lake, validated_data=truth, predictions=old, evaluation_report=promises(roc_auc=0.99))
    (judged,) = [row for row in performance.report(lake, paths, spec(), "5") if row["judged"]]
    assert (judged["role"], judged["seen"], judged["decayed"]) == ("champion", None, None)


def test_large_batches_are_scored_whole_and_sampled_for_intervals(
    lake: Lake, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = rows_of(3000)
    fill(lake, validated_data=truth, predictions=predictions_of(truth, "1.0.0", "champion", 0.4))
    monkeypatch.setattr(performance, "SAMPLE", 300)
    assert performance.open_rows(lake, spec(), "5", 1) == 2700
    ((size,),) = lake.con.execute("SELECT count(*) FROM measured WHERE sampled").fetchall()
    assert 240 < size < 360
    small = {row["metric"]: row for row in performance.report(lake, paths, spec(), "5")}
    monkeypatch.setattr(performance, "SAMPLE", 10_000)
    whole = {row["metric"]: row for row in performance.report(lake, paths, spec(), "5")}
    for metric, row in small.items():
        assert row["value"] == whole[metric]["value"]
        width, expected = row["high"] - row["low"], whole[metric]["high"] - whole[metric]["low"]
        assert width == pytest.approx(expected, rel=0.6), metric


def test_classes_and_values_are_scored_too(lake: Lake, paths: Paths) -> None:
    truth = rows_of(200).dropna()
    grade = np.where(truth["late_days"] > 10, "a", "b")
    predicted = predictions_of(truth, "1.0.0", "champion", 0.3).assign(
        decision=np.where(np.arange(len(truth)) % 3, grade, "c")
    )
    fill(lake, validated_data=truth, predictions=predicted)
    by = {
        row["metric"]: row
        for row in performance.report(
            lake, paths, spec("multiclass", "CASE WHEN late_days > 10 THEN 'a' ELSE 'b' END"), "5"
        )
    }
    assert by["accuracy"]["value"] == pytest.approx(sk.accuracy_score(grade, predicted["decision"]))
    assert by["f1_macro"]["value"] == pytest.approx(sk.f1_score(grade, predicted["decision"], average="macro"))
    assert by["log_loss"]["value"] is None  # this lake holds no probabilities
    by = {row["metric"]: row for row in performance.report(lake, paths, spec("regression", "late_days"), "5")}
    assert by["rmse"]["value"] == pytest.approx(sk.root_mean_squared_error(truth["late_days"], predicted["score"]))


def test_probabilities_are_those_of_the_bundles_classes(
    lake: Lake, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = rows_of(200).dropna()
    given = np.random.default_rng(2).dirichlet([1, 1, 1], len(truth))
    predicted = predictions_of(truth, "1.0.0", "champion", 0.3)
    fill(lake, validated_data=truth, predictions=predicted.assign(decision="b", probabilities=list(given)))
    monkeypatch.setattr(performance, "_classes", lambda *_: ["c", "b", "a"])
    made = spec("multiclass", "CASE WHEN late_days > 10 THEN 'a' ELSE 'b' END")
    by = {row["metric"]: row for row in performance.report(lake, paths, made, "5")}
    grade = np.where(truth["late_days"] > 10, "a", "b")
    assert by["log_loss"]["value"] == pytest.approx(sk.log_loss(grade, given[:, ::-1], labels=["a", "b", "c"]))


def test_no_outcome_is_no_row_and_no_prediction_is_refused(lake: Lake, paths: Paths) -> None:
    truth = rows_of(50).assign(late_days=np.nan)
    fill(lake, validated_data=truth, predictions=predictions_of(truth, "1.0.0", "champion", 0.4))
    assert performance.report(lake, paths, spec(), "5") == []
    with pytest.raises(BatchRefused, match="predictions has no rows"):
        performance.report(lake, paths, spec(), "6")


def test_one_class_has_no_roc_auc_and_no_verdict(lake: Lake, paths: Paths) -> None:
    truth = rows_of(200).assign(late_days=0.0)
    predicted = predictions_of(truth, "1.0.0", "champion", 0.4)
    fill(lake, validated_data=truth, predictions=predicted, evaluation_report=promises(roc_auc=0.9))
    by = {row["metric"]: row for row in performance.report(lake, paths, spec(), "5")}
    assert (by["roc_auc"]["value"], by["roc_auc"]["decayed"]) == (None, None)
    assert "not defined" in by["roc_auc"]["why"]
    assert by["accuracy"]["value"] == pytest.approx((predicted["decision"] == "0").mean())


def test_versions_are_ordered_with_the_champion_first(lake: Lake) -> None:
    truth = rows_of(20)
    fill(
        lake,
        predictions=pd.concat(
            [predictions_of(truth, "0.9.0", "shadow", 0.1, seen=True), predictions_of(truth, "1.0.0", "champion", 0.1)]
        ),
    )
    assert predictions.scored_by(lake, "loans", "5") == [
        ScoredBy("1.0.0", "champion", False),
        ScoredBy("0.9.0", "shadow", True),
    ]
