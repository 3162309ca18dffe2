"""What an evaluation finds on rows whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml_assets import metrics
from ml_assets.graph.release.evaluation import money, robustness, slices
from ml_assets.graph.release.evaluation.leakage import suspects
from ml_assets.reporting import narrative
from ml_assets.tables.evaluations import Evaluation
from ml_assets_tests.graph.release.made import TYPES, examined, judged_as, of, spec_of

COSTS = {"false_positive": 1, "false_negative": 4, "unit": "EUR"}


@pytest.fixture(scope="module")
def binary() -> Evaluation:
    return examined(spec_of(costs=COSTS), champion=True)


def test_every_metric_has_an_interval_around_it(binary: Evaluation) -> None:
    found = of(binary, "test")
    assert [f.metric for f in found] == (metrics.names("binary"))
    for finding in found:
        assert finding.low is not None
        assert finding.high is not None
        assert finding.low < finding.value < finding.high


def test_gains_are_paired_and_positive_for_the_better(binary: Evaluation) -> None:
    (gain,) = of(binary, "gain_over_baseline")
    (test,) = [f for f in of(binary, "test") if f.metric == "roc_auc"]
    assert gain.value == pytest.approx(test.value - 0.5)
    assert 0 < (gain.low or 0) < gain.value < (gain.high or 0)
    (gain,) = of(binary, "gain_over_champion")
    (champion,) = of(binary, "champion")
    assert gain.value == pytest.approx(test.value - champion.value)
    assert champion.note == "0.9.0"


def test_a_smaller_error_is_a_gain() -> None:
    (gain,) = of(examined(spec_of("regression")), "gain_over_baseline")
    assert 0 < (gain.low or 0) < gain.value


def test_money_saved_is_the_difference_of_costs_that_can_be_counted() -> None:
    labels = np.r_[np.ones(100), np.zeros(900)].astype(int)
    scores = np.where(np.arange(1000) < 90, 0.9, 0.1)  # finds 90 of 100, no false alarm
    scores[-20:] = 0.9  # and 20 false alarms
    worse = np.where(np.arange(1000) < 50, 0.9, 0.1)
    found = {
        f.scope: f for f in money.savings(spec_of(costs=COSTS), judged_as(labels, scores), judged_as(labels, worse))
    }
    assert found["cost"].value == 10 * 4 + 20
    assert found["saved_over_baseline"].value == 400 - 60  # deciding 0 costs 400, deciding 1 costs 900
    assert found["saved_over_baseline"].note == 'never predicting "outcome"'
    assert found["saved_over_champion"].value == 50 * 4 - 60
    low, high = found["saved_over_champion"].low or 0, found["saved_over_champion"].high or 0
    assert 80 < low < 140 < high < 200
    assert money.savings(spec_of(), judged_as(labels, scores), None) == []


def test_a_slice_with_one_label_is_reported_and_undefined() -> None:
    labels = np.r_[np.zeros(50), RNG.integers(0, 2, 100)].astype(int)
    region = np.r_[np.repeat("A", 50), np.repeat("B", 98), [None, None]]
    judged = judged_as(labels, RNG.random(150), slice_region=region)
    found = {f.slice: f for f in slices.slices(spec_of(), judged)}
    assert set(found) == {"A", "B", slices.MISSING}
    assert math.isnan(found["A"].value)
    assert found["A"].note == "outcome=0 in 100% of rows"
    assert (found["A"].rows, found["B"].rows, found[slices.MISSING].rows) == (50, 98, 2)
    assert found["B"].note is None
    assert (found["B"].low or 0) < found["B"].value < (found["B"].high or 0)
    assert "outcome=0 in 100%" in " ".join(narrative.limitations(spec_of(), list(found.values())))


RNG = np.random.default_rng(5)


@pytest.mark.parametrize("metric", ["recall", "f1", "precision", "balanced_accuracy", "roc_auc", "log_loss"])
def test_what_rows_cannot_tell_is_not_zero(metric: str) -> None:
    assert math.isnan(slices.defined_score(judged_as(np.zeros(10, int), np.full(10, 0.1)), metric))


def test_the_fairness_gap_is_between_the_large_groups() -> None:
    region = np.repeat(["A", "B", "tiny"], [200, 100, 5])
    scores = np.r_[np.repeat([0.9, 0.1], 100), np.repeat([0.9, 0.1], [20, 80]), np.zeros(5)]
    judged = judged_as(RNG.integers(0, 2, 305), scores, slice_region=region)
    found = slices.fairness(spec_of(), judged)
    (gap,) = [f for f in found if f.scope == "fairness"]
    assert (gap.value, gap.rows, gap.slice_by) == (pytest.approx(0.3), 100, "region")
    assert gap.note == "highest: A (0.5), lowest: B (0.2)"
    assert 0.15 < (gap.low or 0) < 0.3 < (gap.high or 0) < 0.45
    assert {f.slice: f.value for f in found if f.scope == "group"} == pytest.approx({"A": 0.5, "B": 0.2, "tiny": 0})


def test_the_worst_group_of_an_error_has_the_greatest() -> None:
    (gap,) = of(examined(spec_of("regression")), "fairness")
    values = {f.slice: f.value for f in of(examined(spec_of("regression")), "group") if f.rows >= 30}
    worst = max(values, key=lambda name: values[name])
    assert f"worst: {worst}" in str(gap.note)
    assert 0 <= (gap.low or -1) <= (gap.high or -1)


def test_groups_of_several_classes_are_compared_on_the_same_class() -> None:
    evaluation = examined(spec_of("multiclass"))
    judged = evaluation.judged
    favoured = max(judged.schema.classes, key=lambda name: np.sum(judged.labels == name))
    for group in of(evaluation, "group"):
        rows = (judged.rows["slice_region"] == group.slice).to_numpy()
        assert group.value == pytest.approx(np.mean(judged.decisions[rows] == favoured))


def test_what_the_model_ignores_has_no_importance(binary: Evaluation) -> None:
    found = {f.slice: f for f in of(binary, "importance")}
    assert found["income"].value > 0.2
    assert abs(found["noise"].value) < 0.02
    for f in found.values():
        assert (f.low or 0) <= f.value <= (f.high or 0)
    missing = {f.slice: f.value for f in of(binary, "missing")}
    assert missing["income"] > 0.2 > 0.05 > missing["noise"]
    assert 0 < missing[None] < 0.2  # type: ignore[index]


def test_noise_and_shuffles_are_seeded() -> None:
    once, again = (examined(spec_of("regression")) for _ in range(2))
    for scope in ("noise", "missing", "importance"):
        assert of(once, scope) == of(again, scope)
    assert of(once, "noise")[0].value < 0.01  # moved by a hundredth of a deviation, no answer moves by a tenth of one


def test_the_sample_bounds_what_a_model_is_asked() -> None:
    def asked(rows: int, features: int, seconds: float) -> int:
        return len(robustness._sample(rows, features, seconds, 0))

    assert asked(300, 10, 0.01) == 300
    assert asked(100_000, 2, 0.1) == 20_000
    assert asked(100_000, 100, 0.1) * 600 <= 500_000
    assert asked(10_000, 10, 100.0) < asked(10_000, 10, 0.1) / 4


def test_a_model_that_cannot_handle_missing_values_says_so() -> None:
    class Strict:
        def predict_proba(self, features: object) -> np.ndarray:
            raise ValueError("Input X contains NaN.\nmore")

    evaluation = examined(spec_of())
    probe = robustness._Probe(Strict(), evaluation.judged, evaluation.judged.rows[list(TYPES)], 0)
    assert [(math.isnan(f.value), f.note) for f in probe.missing(0.1)] == [
        (True, "the model cannot predict: Input X contains NaN.")
    ] * 4


def test_nothing_is_suspected_without_a_leak(binary: Evaluation) -> None:
    assert suspects(spec_of(), binary.found) == []
    assert of(binary, "target_proxy") == []
    assert max(f.value for f in of(binary, "single")) < 0.95


def test_leaks_are_named() -> None:
    def leaky(rows: object) -> dict[str, object]:
        return {
            "late_hint": rows["label"] * 2.0 + rows["noise"].abs().clip(upper=1.9),  # type: ignore[index]
            "paid": ~rows["label"],  # type: ignore[index]
            "code": rows["slice_loan"] * 3,  # type: ignore[index]
            "line": rows["row_id"],  # type: ignore[index]
            "name": "loan " + rows["slice_loan"].astype(str),  # type: ignore[index]
        }

    kinds = {"late_hint": "number", "paid": "number", "code": "number", "line": "number", "name": "category"}
    evaluation = examined(spec_of(), types={**TYPES, **kinds}, add=leaky)
    said = {f.slice: f.note for f in of(evaluation, "target_proxy")}
    assert said == {
        "paid": "is the opposite of the target outcome",
        "code": "is one to one with the key column loan",
        "line": "is the number of the row",
        "name": "has a different text in each row, like a key",
    }
    shown = suspects(spec_of(), evaluation.found)
    assert "late_hint alone reaches roc_auc 1" in shown
    assert "paid is the opposite of the target outcome" in shown
    assert "Suspected target leakage" in " ".join(narrative.summary(spec_of(), "1.0.0", None, evaluation.found, shown))


def test_identical_rows_alarm_beyond_the_limit(binary: Evaluation) -> None:
    gates = {"leakage": {"max_identical": 0.1}}
    (found,) = of(binary, "identical")
    worse = [f if f != found else type(f)(**{**f.__dict__, "value": 0.2}) for f in binary.found]
    assert suspects(spec_of(gates=gates), binary.found) == []
    assert suspects(spec_of(gates=gates), worse) == ["20.00% of the test rows repeat training rows"]


def test_what_the_report_alone_shows_is_no_row_of_the_lake(binary: Evaluation) -> None:
    evaluation = binary
    (gain,) = of(evaluation, "gain_over_champion")
    (wide,) = [f for f in evaluation.shown if f.scope == "gain_over_champion_95"]
    assert (wide.value, wide.rows) == (gain.value, gain.rows)
    assert wide.low < gain.low < gain.high < wide.high  # type: ignore[operator]  # the gate's limits are one-sided
    assert {f.scope for f in evaluation.shown}.isdisjoint(f.scope for f in evaluation.found)
    for name in ("slice_baseline", "slice_champion"):
        assert {f.slice for f in evaluation.shown if f.scope == name} == {"A", "B", "C"}
