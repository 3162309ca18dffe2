"""Slices of the test rows, and whether groups are served alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np

from ml_assets import metrics
from ml_assets.metrics import weighted
from ml_assets.ml import baseline
from ml_assets.ml.judged import Array, Judged
from ml_assets.spec import PipelineSpec
from ml_assets.tables.evaluations import EvaluatedNumber

DOMINANT = 0.95  # a slice where one label has more than this share is named
WITH_INTERVAL = 100  # the largest slices of a column; the others are reported without an interval
MISSING = "(missing)"


def columns(spec: PipelineSpec) -> tuple[str, ...]:
    """Columns that slices and groups are made of."""
    gates = spec.gates
    return tuple(
        dict.fromkeys((*(gates.slices.by if gates.slices else ()), *(gates.fairness.by if gates.fairness else ())))
    )


def slices(spec: PipelineSpec, judged: Judged) -> list[EvaluatedNumber]:
    """The metric of every slice; a missing value is a slice of its own."""
    rule = spec.gates.slices
    if rule is None:
        return []
    metric = rule.metric or spec.metric
    found = []
    for column in rule.by:
        for place, (name, part) in enumerate(_parts(judged, column)):
            low, high = weighted.interval(_resampled(spec, part, metric)) if place < WITH_INTERVAL else (None, None)
            note = _dominance(spec, part)
            value, rows = defined_score(part, metric), len(part.labels)
            found.append(EvaluatedNumber("slice", metric, value, rows, low, high, column, name, note))
    return found


def of_other(spec: PipelineSpec, other: Judged, scope: str) -> list[EvaluatedNumber]:
    """The metric of another model in the largest slices, for whoever compares."""
    rule = spec.gates.slices
    if rule is None:
        return []
    metric = rule.metric or spec.metric
    return [
        EvaluatedNumber(scope, metric, defined_score(part, metric), len(part.labels), slice_by=column, slice=name)
        for column in rule.by
        for name, part in islice(_parts(other, column), WITH_INTERVAL)
    ]


def fairness(spec: PipelineSpec, judged: Judged) -> list[EvaluatedNumber]:
    """The metric of every group, and the gap between the best and the worst of those that are large enough."""
    rule = spec.gates.fairness
    if rule is None:
        return []
    metric = rule.metric or (spec.metric if spec.target.kind == "regression" else "selection_rate")
    found = []
    for column in rule.by:
        groups, resampled = [], {}
        for place, (name, part) in enumerate(_parts(judged, column)):
            value, rows = defined_score(part, metric), len(part.labels)
            ends: tuple[float | None, float | None] = (None, None)
            if place < WITH_INTERVAL:
                resampled[name] = _resampled(spec, part, metric)
                ends = weighted.interval(resampled[name])
            groups.append(EvaluatedNumber("group", metric, value, rows, *ends, column, name, _dominance(spec, part)))
        found += groups
        large = [group for group in groups if group.rows >= rule.min_rows and not math.isnan(group.value)]
        if len(large) > 1:
            found.append(_gap(metric, large, resampled))
    return found


def _gap(metric: str, groups: list[EvaluatedNumber], resampled: dict[str, Array]) -> EvaluatedNumber:
    ranked = sorted(groups, key=lambda group: group.value)
    if metric != "selection_rate" and not metrics.METRICS[metric].is_higher_better:
        ranked.reverse()
    worst, best = ranked[0], ranked[-1]
    ends: tuple[float | None, float | None] = (None, None)
    if {best.slice, worst.slice} <= set(resampled):
        ends = weighted.interval(np.abs(resampled[str(best.slice)] - resampled[str(worst.slice)]))
    words = ("highest", "lowest") if metric == "selection_rate" else ("best", "worst")
    note = ", ".join(
        f"{word}: {group.slice} ({group.value:.4g})" for word, group in zip(words, (best, worst), strict=True)
    )
    gap, rows = abs(best.value - worst.value), min(best.rows, worst.rows)
    return EvaluatedNumber("fairness", metric, gap, rows, *ends, best.slice_by, None, note)


def defined_score(judged: Judged, metric: str) -> float:
    """The metric; NaN where these rows cannot tell it, such as recall where no label is 1."""
    if metric != "selection_rate" and metrics.METRICS[metric].says_nothing(judged.predictions):
        return float("nan")
    return judged.statistic(metric)(np.ones(len(judged.labels)))


def _parts(judged: Judged, column: str) -> Iterator[tuple[str, Judged]]:
    """Each value of a column with its rows, the largest first."""
    values = judged.rows["slice_" + column]
    names = values.astype(object).where(values.notna(), MISSING).astype(str).to_numpy(dtype=str)
    found, codes, counts = np.unique(names, return_inverse=True, return_counts=True)
    by_code = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    for code in np.argsort(-counts, kind="stable"):
        yield str(found[code]), judged.at(by_code[code])


def _resampled(spec: PipelineSpec, part: Judged, metric: str) -> Array:
    resampled: Array = weighted.bootstrap([part.statistic(metric)], len(part.labels), spec.tuning.seed)[:, 0]
    return resampled


def _dominance(spec: PipelineSpec, part: Judged) -> str | None:
    if spec.target.kind == "regression":
        return None
    label = baseline.most_frequent(part.labels)
    share = float(np.mean(part.labels == label))
    return f"{spec.target.name}={label} in {share:.0%} of rows" if share > DOMINANT else None
