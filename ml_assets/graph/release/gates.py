"""Gates: what the YAML demands of a version, judged on its evaluation, each as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ml_assets.graph.release.evaluation import Finding
from ml_assets.ml import metrics
from ml_assets.spec import PipelineSpec


@dataclass(frozen=True)
class Gate:
    """One demand and whether it is met.

    Args:
        gate: Name, as in the YAML.
        limit: What is demanded, in words.
        found: What was found; None where there was nothing to judge.
        passed: Is it met?
        detail: Where it fell short, or why there was nothing to judge.
    """

    gate: str
    limit: str
    found: float | None
    passed: bool
    detail: str = ""

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


def judge(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    """Every gate of the YAML on the findings of one evaluation."""
    return [
        *_metrics(spec, found),
        *_overfit(spec, found),
        _champion(spec, found),
        *_slices(spec, found),
        *_sensitivity(spec, found),
    ]


def _value(found: Sequence[Finding], scope: str, metric: str) -> float:
    return next(finding.value for finding in found if finding.scope == scope and finding.metric == metric)


def _limit(value: float, low: float | None, high: float | None) -> tuple[str, bool]:
    """The limit in words, and whether a value keeps it; an undefined value keeps none."""
    words = [f">= {low:g}"] if low is not None else []
    words += [f"<= {high:g}"] if high is not None else []
    kept = not math.isnan(value) and (low is None or value >= low) and (high is None or value <= high)
    return " and ".join(words) or "none", kept


def _metrics(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    gates = []
    for name, limit in spec.gates.metrics.items():
        value = _value(found, "test", name)
        words, passed = _limit(value, limit.min, limit.max)
        gates.append(Gate(f"metrics.{name}", f"{name} {words}", value, passed))
    return gates


def _overfit(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    if spec.gates.overfit is None:
        return []
    gap = metrics.gain(spec.metric, _value(found, "train", spec.metric), _value(found, "test", spec.metric))
    most = spec.gates.overfit.max_gap
    return [Gate("overfit", f"{spec.metric} of train over test <= {most:g}", gap, gap <= most)]


def _champion(spec: PipelineSpec, found: Sequence[Finding]) -> Gate:
    rule = spec.gates.champion
    limit = f"loss of {spec.metric} <= {rule.max_drop:g} unless sure at {rule.confidence:.0%}"
    gain = next((finding for finding in found if finding.scope == "gain_over_champion"), None)
    if gain is None:
        return Gate("champion", limit, None, True, "no champion to compare with on these features")
    best_case = gain.high if gain.high is not None else gain.value
    passed = best_case >= -rule.max_drop
    return Gate("champion", limit, gain.value, passed, f"gain between {gain.low:.4g} and {best_case:.4g}")


def _slices(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    rule = spec.gates.slices
    if rule is None:
        return []
    judged = [f for f in found if f.scope == "slice" and f.rows >= rule.min_rows and not math.isnan(f.value)]
    metric = rule.metric or spec.metric
    words, _ = _limit(0.0, rule.min, rule.max)
    limit = f"{metric} {words} in each slice of {rule.min_rows:,} rows or more"
    if not judged:
        return [Gate("slices", limit, None, True, "no slice has that many rows")]
    bad = [f for f in judged if not _limit(f.value, rule.min, rule.max)[1]]
    worst = min(judged, key=lambda f: metrics.gain(metric, f.value, 0.0))
    named = ", ".join(f"{f.slice_by}={f.slice} ({f.value:.4g}, {f.rows:,} rows)" for f in bad[:5])
    return [Gate("slices", limit, worst.value, not bad, named or f"worst: {worst.slice_by}={worst.slice}")]


def _sensitivity(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    rule = spec.gates.sensitivity
    flips = [f.value for f in found if f.scope == "noise"]
    if rule is None or not flips:
        return []
    limit = f"flips <= {rule.max_flips:g} under noise of {rule.noise:g} standard deviations"
    return [Gate("sensitivity", limit, flips[0], flips[0] <= rule.max_flips)]
