"""Each gate on made-up findings: what passes, what fails, and what a refusal tells."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from ml_assets.graph.release.promotion.gates import Evidence, judge
from ml_assets.spec import PipelineSpec
from ml_assets.tables.decisions import Gate
from ml_assets.tables.evaluations import EvaluatedNumber
from ml_assets.tables.releases import Release
from ml_assets_tests.conftest import SPEC

GATES = {
    "metrics": {"roc_auc": {"min": 0.6}, "log_loss": {"max": 0.7}},
    "overfit": {"max_gap": 0.05},
    "champion": {"max_drop": 0.01, "confidence": 0.95},
    "slices": {"by": ["region"], "min": 0.5, "min_rows": 100},
    "sensitivity": {"noise": 0.01, "max_flips": 0.05, "max_flips_missing": 0.2},
    "fairness": {"by": ["region"], "max_gap": 0.2, "min_rows": 100},
    "calibration": {"max_error": 0.05},
    "leakage": {"max_single": 0.95, "max_identical": 0.01},
    "refit": {"max_negative_flips": 0.2, "max_drop": 0.04},
    "serving": {"p95_ms": 50, "rss_mib": 600, "parity": 1e-5},
}
NAMES = [
    "metrics.roc_auc",
    "metrics.log_loss",
    "overfit",
    "champion",
    "slices",
    "sensitivity",
    "sensitivity.missing",
    "fairness",
    "calibration",
    "leakage",
    "leakage.score",
    "refit.negative_flips",
    "refit.drop",
    "serving.parity",
    "serving.p95_ms",
    "serving.rss_mib",
]
NAN = float("nan")


def findings(**changes: Any) -> list[EvaluatedNumber]:
    values = {
        "test": 0.70,
        "loss": 0.5,
        "train": 0.74,
        "gain": 0.0,
        "low": -0.02,
        "high": 0.02,
        "slice": 0.6,
        "flips": 0.01,
        "missing": 0.1,
        "gap": 0.1,
        "ece": 0.02,
        "single": 0.7,
        "identical": 0.0,
        "score": 0.7,
        "together": 0.7,
    }
    values.update(changes)
    by_region = {"slice_by": "region"}
    return [
        EvaluatedNumber("test", "roc_auc", values["test"], 1000),
        EvaluatedNumber("test", "log_loss", values["loss"], 1000),
        EvaluatedNumber("train", "roc_auc", values["train"], 5000),
        EvaluatedNumber("gain_over_champion", "roc_auc", values["gain"], 1000, values["low"], values["high"]),
        EvaluatedNumber("slice", "roc_auc", values["slice"], 500, **by_region, slice="A", note="late=0 in 97% of rows"),
        EvaluatedNumber("slice", "roc_auc", 0.9, 500, **by_region, slice="B"),
        EvaluatedNumber("slice", "roc_auc", 0.1, 99, **by_region, slice="rare"),
        EvaluatedNumber("noise", "flips", values["flips"], 1000),
        EvaluatedNumber("missing", "flips", values["missing"], 1000),
        EvaluatedNumber("missing", "flips", 0.9, 1000, slice_by="feature", slice="income"),
        EvaluatedNumber("fairness", "selection_rate", values["gap"], 500, **by_region, note="A 0.5, B 0.2"),
        EvaluatedNumber("group", "selection_rate", 0.5, 500, **by_region, slice="A"),
        EvaluatedNumber("group", "selection_rate", 0.2, 500, **by_region, slice="B"),
        EvaluatedNumber("calibration", "ece", values["ece"], 1000),
        EvaluatedNumber("single", "roc_auc", values["single"], 1000, slice_by="feature", slice="income"),
        EvaluatedNumber("single", "roc_auc", NAN, 1000, slice_by="feature", slice="constant"),
        EvaluatedNumber("identical", "share", values["identical"], 1000),
        EvaluatedNumber("score", "roc_auc", values["score"], 1000),
        EvaluatedNumber(
            "together", "roc_auc", values["together"], 1000, slice_by="feature", slice="casual + registered"
        ),
    ]


def release(**changes: Any) -> Release:
    values: dict[str, Any] = {
        "version": "1.0.0",
        "created_at": dt.datetime(2024, 1, 1),
        "folder": "loans/1.0.0",
        "sha256": "x",
        "engine": "onnx",
        "engine_why": "",
        "size_bytes": 1,
        "started": True,
        "start_s": 1.0,
        "golden_rows": 100,
        "parity": 0.0,
        "p50_ms": 1.0,
        "p95_ms": 3.0,
        "rss_mib": 200.0,
        "serves": "refit",
        "negative_flips": 0.1,
        "known_judged": 0.74,
        "known_served": 0.73,
    }
    return Release(**{**values, **changes})


def judged(
    found: list[EvaluatedNumber],
    made: Release | None = None,
    incomparable: str = "",
    gates: dict[str, Any] | None = None,
    **rest: Any,
) -> dict[str, Gate]:
    spec = PipelineSpec.model_validate({**SPEC, "gates": gates or GATES, **rest})
    return {gate.gate: gate for gate in judge(Evidence(spec, found, made, incomparable))}


def test_a_good_version_passes_every_gate() -> None:
    gates = judged(findings(), release())
    assert list(gates) == NAMES
    assert {name: gate.shortfall() for name, gate in gates.items() if not gate.passed} == {}


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"test": 0.59, "train": 0.6}, "metrics.roc_auc"),
        ({"test": NAN}, "metrics.roc_auc"),
        ({"loss": 0.8}, "metrics.log_loss"),
        ({"loss": NAN}, "metrics.log_loss"),
        ({"train": 0.76}, "overfit"),
        ({"train": NAN}, "overfit"),
        ({"gain": -0.03, "low": -0.05, "high": -0.011}, "champion"),
        ({"gain": NAN, "low": NAN, "high": NAN}, "champion"),
        ({"slice": 0.49}, "slices"),
        ({"flips": 0.06}, "sensitivity"),
        ({"flips": NAN}, "sensitivity"),
        ({"missing": 0.21}, "sensitivity.missing"),
        ({"gap": 0.3}, "fairness"),
        ({"gap": NAN}, "fairness"),
        ({"ece": 0.06}, "calibration"),
        ({"ece": NAN}, "calibration"),
        ({"single": 0.96}, "leakage"),
        ({"identical": 0.02}, "leakage"),
        ({"score": 0.9995}, "leakage.score"),
        ({"together": 1.0}, "leakage.score"),
    ],
)
def test_each_gate_can_fail(change: dict[str, float], gate: str) -> None:
    failed = {name for name, found in judged(findings(**change), release()).items() if not found.passed}
    assert gate in failed
    assert failed <= {gate, "overfit"}


@pytest.mark.parametrize(
    ("change", "gate", "detail"),
    [
        ({"parity": 2e-5}, "serving.parity", ""),
        ({"parity": float("inf")}, "serving.parity", "a prediction was missing or decided otherwise"),
        ({"parity": None}, "serving.parity", "not measured: materialize loans/release_candidate"),
        ({"p95_ms": 51.0}, "serving.p95_ms", ""),
        ({"rss_mib": 601.0}, "serving.rss_mib", ""),
        ({"negative_flips": 0.21}, "refit.negative_flips", ""),
        ({"negative_flips": None}, "refit.negative_flips", "not defined on these rows"),
        ({"known_served": 0.69}, "refit.drop", ""),
        ({"known_served": None}, "refit.drop", "not defined on these rows"),
    ],
)
def test_each_limit_of_a_release_can_fail(change: dict[str, float], gate: str, detail: str) -> None:
    gates = judged(findings(), release(**change))
    assert [name for name, found in gates.items() if not found.passed] == [gate]
    assert gates[gate].detail == detail


@pytest.mark.parametrize(
    ("made", "detail"),
    [
        (None, "not packed: materialize loans/release_candidate"),
        (
            release(started=False, parity=float("inf"), p95_ms=None, rss_mib=None),
            "its server did not start; the log is in the metadata of loans/release_candidate",
        ),
        (release(started=False, parity=None), "its server was never started: materialize loans/release_candidate"),
    ],
)
def test_a_server_that_was_not_asked_fails_every_limit(made: Release | None, detail: str) -> None:
    failed = {name: gate.detail for name, gate in judged(findings(), made).items() if not gate.passed}
    assert failed == dict.fromkeys(("serving.parity", "serving.p95_ms", "serving.rss_mib"), detail)
    assert "serving.p95_ms" not in judged(findings(), None, gates={**GATES, "serving": None})


def test_a_version_that_is_not_refit_has_nothing_to_flip() -> None:
    gates = judged(findings(), release(serves="judged", serves_why="gates failed: overfit", negative_flips=None))
    detail = "the judged model serves: gates failed: overfit"
    assert [(gates[name].passed, gates[name].detail) for name in ("refit.negative_flips", "refit.drop")] == [
        (True, detail)
    ] * 2
    assert "refit.negative_flips" not in {
        gate.gate
        for gate in judge(Evidence(PipelineSpec.model_validate({**SPEC, "training": {"refit": "judged"}}), findings()))
    }


def test_an_error_metric_drops_by_a_share_of_itself() -> None:
    """A loss of 5 in rmse is much of 10 and little of 1,000."""
    target = {"name": "y", "sql": "late_days", "kind": "regression"}
    spec = PipelineSpec.model_validate({**SPEC, "target": target, "gates": {}})
    made = [release(known_judged=before, known_served=before + 5.0) for before in (10.0, 1000.0)]
    drops = [{gate.gate: gate for gate in judge(Evidence(spec, release=one))}["refit.drop"] for one in made]
    assert [(gate.found, gate.passed) for gate in drops] == [(0.5, False), (0.005, True)]


def test_an_evaluation_without_a_finding_passes_no_gate_in_silence() -> None:
    gates = judged([])
    assert list(gates) == NAMES
    refit = {"refit.negative_flips", "refit.drop"}
    assert {name for name, gate in gates.items() if gate.passed} == refit  # nothing was refit: nothing to judge
    fixes = {gate.detail.partition(": ")[2] for name, gate in gates.items() if name not in refit}
    assert fixes == {"materialize loans/evaluation_report", "materialize loans/release_candidate"}


def test_only_what_the_yaml_demands_is_judged() -> None:
    few = judged(findings(), gates={"refit": None, "serving": None})
    assert list(few) == ["champion", "leakage", "leakage.score"]
    unlimited = {"sensitivity": {"max_flips_missing": None}, "leakage": None, "refit": None, "serving": None}
    assert list(judged(findings(missing=0.9), gates=unlimited)) == ["champion", "sensitivity"]


COSTS = {"false_positive": 1, "false_negative": 4, "unit": "EUR"}


def saved(scope: str, value: float, low: float, high: float) -> EvaluatedNumber:
    return EvaluatedNumber(
        scope, "cost", value, 1000, low, high, note={"b": "deciding 0 each time", "c": "version 1.0.0"}[scope[11]]
    )


@pytest.mark.parametrize(
    ("found", "gates", "passed"),
    [
        ([saved("saved_over_baseline", 500, 300, 700), saved("saved_over_champion", -856, -1346, -428)], {}, False),
        ([saved("saved_over_baseline", 500, 300, 700), saved("saved_over_champion", -856, -1346, 10)], {}, True),
        ([saved("saved_over_baseline", -90, -150, -20), saved("saved_over_champion", 300, 100, 500)], {}, False),
        (
            [saved("saved_over_baseline", 500, 300, 700), saved("saved_over_champion", -856, -1346, -428)],
            {"costs": {"max_loss": 0.5}},  # 500 EUR on 1,000 rows
            True,
        ),
        ([saved("saved_over_baseline", 500, 300, 700)], {}, False),  # not compared with the champion
    ],
)
def test_a_version_that_surely_loses_money_is_refused(found: list[EvaluatedNumber], gates: Any, passed: bool) -> None:
    gate = judged([*findings(), *found], gates={**GATES, **gates}, costs=COSTS)["costs"]
    assert gate.passed is passed
    if len(found) > 1 and not passed:
        assert gate.detail.endswith("EUR")
        assert gate.found == -min(one.value for one in found) / 1000


def test_money_is_judged_where_costs_are_given_and_nowhere_else() -> None:
    assert "costs" not in judged(findings())
    assert "costs" not in judged(findings(), gates={**GATES, "costs": None}, costs=COSTS)
    first = judged([*findings(), saved("saved_over_baseline", 5, 3, 7)], incomparable="no champion", costs=COSTS)
    assert first["costs"].passed
    assert first["costs"].detail == "saved over deciding 0 each time: 5 EUR on 1,000 rows, between 3 EUR and 7 EUR"


def test_an_uncertain_loss_is_no_refusal() -> None:
    gate = judged(findings(gain=-0.03, low=-0.07, high=0.01))["champion"]
    assert gate.passed
    assert gate.found == -0.03


def test_without_a_champion_there_is_nothing_to_compare() -> None:
    alone = [f for f in findings() if f.scope != "gain_over_champion"]
    gate = judged(alone, incomparable="no champion yet")["champion"]
    assert (gate.passed, gate.found, gate.detail) == (True, None, "no champion yet")
    assert not judged(alone)["champion"].passed


def test_a_refusal_names_the_slice_and_a_small_one_is_not_judged() -> None:
    gate = judged(findings(slice=0.3))["slices"]
    assert gate.detail == "region=A (0.3, 500 rows, late=0 in 97% of rows)"
    assert gate.found == 0.3


def test_slices_that_cannot_be_judged() -> None:
    gate = judged(findings(slice=NAN))["slices"]  # all its labels are equal
    assert gate.passed
    assert gate.detail == "worst: region=B; not defined in region=A"
    nowhere = [f for f in findings(slice=NAN) if f.slice != "B"]
    assert not judged(nowhere)["slices"].passed
    small = [f for f in findings() if f.scope != "slice" or f.slice == "rare"]
    assert judged(small)["slices"].detail == "no slice has that many rows"
    assert judged(small)["slices"].passed
    other = {**GATES, "slices": {"by": ["region", "signed"], "min": 0.5}}
    assert judged(findings(), gates=other)["slices"].detail.startswith("no slices by signed: materialize")
    other = {**GATES, "slices": {"by": ["region"], "metric": "f1", "min": 0.5}}
    assert not judged(findings(), gates=other)["slices"].passed


def test_fairness_needs_two_groups_and_names_them() -> None:
    assert judged(findings(gap=0.3))["fairness"].detail == "region: A 0.5, B 0.2"
    one = [f for f in findings() if not (f.scope == "group" and f.slice == "B")]
    gate = judged(one)["fairness"]
    assert (gate.passed, gate.detail) == (
        True,
        "fewer than two groups of that many rows, where it is defined, by region",
    )
    no_gap = [f for f in findings() if f.scope != "fairness"]
    assert judged(no_gap)["fairness"].detail.startswith("no groups by region: materialize")


def test_a_feature_that_is_the_target_never_passes_and_one_that_is_a_key_does() -> None:
    def with_note(note: str | None) -> Gate:
        found = EvaluatedNumber("target_proxy", "agreement", 1.0, 1000, slice_by="feature", slice="income", note=note)
        return judged([*findings(), found], gates={**GATES, "leakage": {"max_single": 1.0}})["leakage"]

    assert with_note("is in other words the target late").detail == "income is in other words the target late"
    assert not with_note("is in other words the target late").passed
    assert not with_note(None).passed
    assert with_note("is in other words the key column loan").passed


def test_leakage_names_the_feature() -> None:
    assert judged(findings(single=0.97))["leakage"].detail == "income alone: roc_auc 0.97"
    assert judged(findings())["leakage"].detail == "strongest alone: income"
    gate = judged(findings(identical=0.02))["leakage"]
    assert (gate.found, gate.detail) == (0.02, "0.02 of the test rows repeat training rows")


def test_a_score_that_is_too_good_names_what_makes_it() -> None:
    gate = judged(findings(score=1.0, together=0.9999))["leakage.score"]
    assert gate.detail == "casual + registered together reach roc_auc 0.9999; it reaches roc_auc 1"
    assert gate.limit == "roc_auc on test rows <= 0.999 (gates.leakage.max_score), or a person approves"
    for limit in (1, None):
        allowed = judged(findings(score=1.0), gates={**GATES, "leakage": {"max_score": limit}})
        assert all(one.passed for name, one in allowed.items() if name.startswith("leakage"))
    few = [f for f in findings(score=NAN, together=NAN) if f.scope != "score"]
    gate = judged([*few, EvaluatedNumber("score", "roc_auc", NAN, 40, note="12 rows are too few")])["leakage.score"]
    assert (gate.passed, gate.detail) == (True, "12 rows are too few")


def test_a_model_that_does_not_bear_missing_values_says_so() -> None:
    found = [f for f in findings() if f.scope != "missing"]
    found.append(EvaluatedNumber("missing", "flips", NAN, 1000, note="the model cannot predict: NaN"))
    gate = judged(found)["sensitivity.missing"]
    assert (gate.passed, gate.detail) == (False, "the model cannot predict: NaN")


def test_a_gate_is_a_row_that_json_can_hold() -> None:
    gate = judged(findings(test=NAN))["metrics.roc_auc"]
    assert gate.as_row()["found"] is None
    assert gate.shortfall() == "metrics.roc_auc: roc_auc >= 0.6 (not defined on these rows)"
