"""An evaluation in sentences, which its report and the model card share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ml_assets import metrics
from ml_assets.spec import PipelineSpec
from ml_assets.tables.evaluations import EvaluatedNumber

NO_CHAMPION = "This is the first champion: there is nothing to compare it with yet."
# Number of slices that are small or weak, beyond which they are counted, not named.
NAMED = 5


def summary(
    spec: PipelineSpec, version: str, champion: str | None, found: Sequence[EvaluatedNumber], suspects: Sequence[str]
) -> list[str]:
    """What a manager asks: what is predicted, is it better, what does it save, what is suspicious."""
    return [
        _predicted(spec, version, found),
        _against(spec, found, "champion", f"the champion, version {champion}"),
        _against(spec, found, "baseline", "the baseline, a model that ignores every feature"),
        *_saved(spec, found, champion),
        _leaks(suspects),
    ]


def _predicted(spec: PipelineSpec, version: str, found: Sequence[EvaluatedNumber]) -> str:
    test = one(found, "test", spec.metric)
    kinds = {"binary": "yes or no", "multiclass": "one of several classes", "regression": "a number"}
    rows = f"{test.rows:,} test rows that neither training nor search has seen" if test else "no test rows"
    return f"Version {version} predicts {spec.target.name} ({kinds[spec.target.kind]}). It was evaluated on {rows}."


def _against(spec: PipelineSpec, found: Sequence[EvaluatedNumber], name: str, whom: str) -> str:
    gain, other, own = (one(found, scope, spec.metric) for scope in (f"gain_over_{name}", name, "test"))
    if gain is None or other is None or own is None:
        why = next((f.note for f in found if f.scope == "not_compared"), None)
        return f"It was not compared with {whom}: {why}" if why and name == "champion" else NO_CHAMPION
    compared = f"{spec.metric} {number(own.value)} against {number(other.value)}"
    better = "higher" if metrics.METRICS[spec.metric].is_higher_better else "lower"
    wide = one(found, "gain_over_champion_95", spec.metric) if name == "champion" else gain
    ends = f"95% CI of the gain: {interval(wide)}" if wide else f"one-sided limits: {interval(gain)}"
    size = f"{number(abs(gain.value))} ({ends}; {better} is better)"
    gain = wide or gain
    if gain.low is None or gain.high is None or math.isnan(gain.low) or math.isnan(gain.high):
        return f"How it compares with {whom} is not defined on these rows."
    if gain.low > 0:
        return f"It is better than {whom}: {compared}, a gain of {size}."
    if gain.high < 0:
        return f"It is worse than {whom}: {compared}, a loss of {size}."
    return f"It does not differ significantly from {whom}: {compared}, a difference of {size}."


def _saved(spec: PipelineSpec, found: Sequence[EvaluatedNumber], champion: str | None) -> list[str]:
    cost = one(found, "cost", "cost")
    if cost is None:
        return []
    sentences = [f"Its wrong decisions on those rows cost {money(spec, cost.value)}."]
    for scope, whom in (("saved_over_baseline", ""), ("saved_over_champion", f"version {champion}")):
        saved = one(found, scope, "cost")
        if saved is None:
            continue
        whom = whom or str(saved.note)
        verb = "saves" if saved.value >= 0 else "loses"
        between = f"{money(spec, saved.low)} to {money(spec, saved.high)}"
        if verb == "loses":
            between += " saved"
        each = abs(saved.value) / saved.rows
        per_row = f"{each:.2g} {_unit(spec)}".strip() if each < 10 else money(spec, each)
        total = money(spec, abs(saved.value))
        sentences.append(f"Compared with {whom}, it {verb} {total} (95% CI {between}), {per_row} per row.")
    return sentences


def _leaks(suspects: Sequence[str]) -> str:
    if not suspects:
        return "No sign of target leakage."
    return f"Suspected target leakage, to be checked before anything else: {'; '.join(suspects)}."


def limitations(spec: PipelineSpec, found: Sequence[EvaluatedNumber]) -> list[str]:
    """Where the version must not be trusted, by its numbers."""
    sentences = []
    rule = spec.gates.slices
    slices = [f for f in found if f.scope == "slice"]
    small = [f for f in slices if rule and f.rows < rule.min_rows]
    if small and rule:
        sentences.append(f"Too few test rows to judge (below {rule.min_rows:,}): {_named(small)}.")
    test = one(found, "test", slices[0].metric) if slices else None
    if test is not None:
        weak = [f for f in slices if f not in small and _significantly_worse(f, test)]
        if weak:
            sentences.append(f"Significantly worse than all rows ({test.metric} {number(test.value)}): {_named(weak)}.")
    undefined = [f for f in found if math.isnan(f.value) and f.scope in ("test", "slice", "group")]
    if undefined:
        sentences.append(f"Not defined on these rows: {_named(undefined)}.")
    one_label = [f for f in slices if f.note]
    if one_label:
        named = ", ".join(f"{f.slice_by}={f.slice} ({f.note})" for f in one_label[:NAMED])
        sentences.append(f"Dominated by one label: {named}{_more(one_label)}.")
    sentences += [f"Without {f.slice or 'some values'}, {f.note}." for f in found if f.scope == "missing" and f.note]
    error = one(found, "calibration", "ece")
    if error is not None:
        sentences.append(f"Probabilities are off by {number(error.value)} on average; {error.note}.")
    return sentences


def _significantly_worse(finding: EvaluatedNumber, test: EvaluatedNumber) -> bool:
    end = finding.high if metrics.METRICS[test.metric].is_higher_better else finding.low
    return end is not None and not math.isnan(end) and metrics.METRICS[test.metric].gain(end, test.value) < 0


def _named(found: Sequence[EvaluatedNumber]) -> str:
    names = [f"{f.slice_by}={f.slice} ({number(f.value)}, {f.rows:,} rows)" if f.slice_by else f.metric for f in found]
    return ", ".join(names[:NAMED]) + _more(found)


def _more(found: Sequence[EvaluatedNumber]) -> str:
    return f" and {len(found) - NAMED} more" if len(found) > NAMED else ""


def one(found: Sequence[EvaluatedNumber], scope: str, metric: str) -> EvaluatedNumber | None:
    """The finding of a scope and metric that is about all rows."""
    return next((f for f in found if f.scope == scope and f.metric == metric and f.slice_by is None), None)


def number(value: float | None) -> str:
    """Four significant digits; whole from 1,000 on."""
    if value is None:
        return ""
    return "not defined" if math.isnan(value) else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def interval(finding: EvaluatedNumber) -> str:
    """Both ends in words; empty where there are none."""
    if finding.low is None or finding.high is None or math.isnan(finding.low):
        return ""
    return f"{number(finding.low)} to {number(finding.high)}"


def money(spec: PipelineSpec, value: float | None) -> str:
    """An amount with its unit."""
    return f"{number(value)} {_unit(spec)}".strip()


def _unit(spec: PipelineSpec) -> str:
    return (spec.costs.unit or "") if spec.costs else ""
