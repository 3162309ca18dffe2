"""Each gate on made-up findings: what passes, what fails, and what a refusal tells."""

from __future__ import annotations

from typing import Any

import pytest

from ml_assets.graph.release.evaluation import Finding
from ml_assets.graph.release.gates import Gate, judge
from ml_assets.spec import PipelineSpec
from ml_assets_tests.conftest import SPEC

GATES = {
    "metrics": {"roc_auc": {"min": 0.6}, "log_loss": {"max": 0.7}},
    "overfit": {"max_gap": 0.05},
    "champion": {"max_drop": 0.01, "confidence": 0.95},
    "slices": {"by": ["region"], "min": 0.5, "min_rows": 100},
    "sensitivity": {"noise": 0.01, "max_flips": 0.05},
}


def findings(**changes: Any) -> list[Finding]:
    values = {
        "test": 0.70,
        "loss": 0.5,
        "train": 0.74,
        "gain": 0.0,
        "low": -0.02,
        "high": 0.02,
        "slice": 0.6,
        "flips": 0.01,
    }
    values.update(changes)
    return [
        Finding("test", "roc_auc", values["test"], 1000),
        Finding("test", "log_loss", values["loss"], 1000),
        Finding("train", "roc_auc", values["train"], 5000),
        Finding("gain_over_champion", "roc_auc", values["gain"], 1000, values["low"], values["high"]),
        Finding("slice", "roc_auc", values["slice"], 500, slice_by="region", slice="A"),
        Finding("slice", "roc_auc", 0.1, 99, slice_by="region", slice="rare"),
        Finding("noise", "flips", values["flips"], 1000),
    ]


def judged(found: list[Finding]) -> dict[str, Gate]:
    spec = PipelineSpec.model_validate({**SPEC, "gates": GATES})
    return {gate.gate: gate for gate in judge(spec, found)}


def test_a_good_version_passes_every_gate() -> None:
    gates = judged(findings())
    assert list(gates) == ["metrics.roc_auc", "metrics.log_loss", "overfit", "champion", "slices", "sensitivity"]
    assert all(gate.passed for gate in gates.values())


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"test": 0.59, "train": 0.6}, "metrics.roc_auc"),
        ({"test": float("nan"), "train": 0.6}, "metrics.roc_auc"),
        ({"loss": 0.8}, "metrics.log_loss"),
        ({"train": 0.76}, "overfit"),
        ({"gain": -0.03, "low": -0.05, "high": -0.011}, "champion"),
        ({"slice": 0.49}, "slices"),
        ({"flips": 0.06}, "sensitivity"),
    ],
)
def test_each_gate_can_fail(change: dict[str, float], gate: str) -> None:
    failed = {name for name, found in judged(findings(**change)).items() if not found.passed}
    assert gate in failed
    assert failed <= {gate, "overfit"}


def test_an_uncertain_loss_is_no_refusal() -> None:
    gate = judged(findings(gain=-0.03, low=-0.07, high=0.01))["champion"]
    assert gate.passed
    assert gate.found == -0.03


def test_a_refusal_names_the_slice_and_a_small_one_is_not_judged() -> None:
    gate = judged(findings(slice=0.3))["slices"]
    assert gate.detail == "region=A (0.3, 500 rows)"
    assert gate.found == 0.3


def test_without_a_champion_there_is_nothing_to_compare() -> None:
    gate = judged([f for f in findings() if f.scope != "gain_over_champion"])["champion"]
    assert gate.passed
    assert gate.found is None
    assert "no champion" in gate.detail
