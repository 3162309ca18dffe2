"""Gates: what the YAML demands of a version, judged on its evaluation and on its release, each as data.

A demanded gate whose finding is missing fails and says what to materialize: an evaluation that an earlier version of
the code or of the YAML wrote may lack it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ml_assets import metrics
from ml_assets.graph.release.evaluation import leakage
from ml_assets.graph.release.evaluation.evaluate import Finding
from ml_assets.spec import PipelineSpec
from ml_assets.tables import releases
from ml_assets.tables.releases import Release

MOST_NAMED = 5
TOO_GOOD = "leakage.score"
# A version that fails only these waits for a person: what looks like a leak may be an easy problem.
ASKS = frozenset({TOO_GOOD})


@dataclass(frozen=True)
class Gate:
    """One demand and whether it is met.

    Args:
        gate: Name, as in the YAML.
        limit: What is demanded, in words.
        found: What was found; None where there was nothing to judge, or where it is not a number.
        passed: Is it met?
        detail: Where it fell short, or why there was nothing to judge.
    """

    gate: str
    limit: str
    found: float | None
    passed: bool
    detail: str = ""

    def as_row(self) -> dict[str, Any]:
        return {**asdict(self), "found": _number(self.found)}

    def shortfall(self) -> str:
        """What was demanded and what was found, in words."""
        value = _number(self.found)
        found = "" if value is None else f", found {value:.4g}"
        return f"{self.gate}: {self.limit}{found}" + (f" ({self.detail})" if self.detail else "")


def judge(
    spec: PipelineSpec, found: Sequence[Finding], release: Release | None = None, incomparable: str = ""
) -> list[Gate]:
    """Every gate of the YAML, in its order; on no findings at all, every gate that is demanded.

    Args:
        spec: The pipeline.
        found: Findings of one evaluation.
        release: The version's newest release; None where it was never packed.
        incomparable: Why there is no champion to compare with; empty where the evaluation must hold a comparison.
    """
    return [*judge_evaluation(spec, found, incomparable), *judge_release(spec, release)]


def judge_evaluation(spec: PipelineSpec, found: Sequence[Finding], incomparable: str = "") -> list[Gate]:
    """The gates that need no release: they decide whether a version is fitted again on all labelled rows."""
    return [
        *_metrics(spec, found),
        *_overfit(spec, found),
        _champion(spec, found, incomparable),
        *_costs(spec, found, incomparable),
        *_slices(spec, found),
        *_sensitivity(spec, found),
        *_fairness(spec, found),
        *_calibration(spec, found),
        *_leakage(spec, found),
        *_too_good(spec, found),
    ]


def judge_release(spec: PipelineSpec, release: Release | None) -> list[Gate]:
    """The gates on what a version ships as."""
    return [*_refit(spec, release), *_serving(spec, release)]


def _number(value: float | None) -> float | None:
    """The value where it is a finite number: JSON has no other."""
    return value if value is not None and math.isfinite(value) else None


def _one(found: Sequence[Finding], scope: str, metric: str) -> Finding | None:
    whole = (f for f in found if f.scope == scope and f.metric == metric and f.slice_by is None)
    return next(whole, None)


def _limit(value: float, low: float | None, high: float | None) -> tuple[str, bool]:
    """The limit in words, and whether a value keeps it; an undefined value keeps none."""
    words = [f">= {low:g}"] if low is not None else []
    words += [f"<= {high:g}"] if high is not None else []
    kept = not math.isnan(value) and (low is None or value >= low) and (high is None or value <= high)
    return " and ".join(words) or "defined", kept


def _not_evaluated(spec: PipelineSpec, gate: str, limit: str, what: str = "not evaluated") -> Gate:
    return Gate(gate, limit, None, False, f"{what}: materialize {spec.name}/evaluation_report")


def _undefined(value: float) -> str:
    return "not defined on these rows" if math.isnan(value) else ""


def _at_most(spec: PipelineSpec, gate: str, limit: str, finding: Finding | None, most: float) -> Gate:
    if finding is None:
        return _not_evaluated(spec, gate, limit)
    return Gate(gate, limit, finding.value, finding.value <= most, finding.note or _undefined(finding.value))


def _metrics(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    gates = []
    for name, limit in spec.gates.metrics.items():
        finding = _one(found, "test", name)
        words, passed = _limit(math.nan if finding is None else finding.value, limit.min, limit.max)
        gate, demand = f"metrics.{name}", f"{name} {words}"
        if finding is None:
            gates.append(_not_evaluated(spec, gate, demand))
        else:
            gates.append(Gate(gate, demand, finding.value, passed, _undefined(finding.value)))
    return gates


def _overfit(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    if spec.gates.overfit is None:
        return []
    most = spec.gates.overfit.max_gap
    limit = f"{spec.metric} of train over test <= {most:g}"
    train, test = _one(found, "train", spec.metric), _one(found, "test", spec.metric)
    if train is None or test is None:
        return [_not_evaluated(spec, "overfit", limit)]
    gap = metrics.METRICS[spec.metric].gain(train.value, test.value)
    return [Gate("overfit", limit, gap, gap <= most, _undefined(gap))]


def _champion(spec: PipelineSpec, found: Sequence[Finding], incomparable: str) -> Gate:
    rule = spec.gates.champion
    limit = f"not surely ({rule.confidence:.0%}) worse in {spec.metric} by more than {rule.max_drop:g}"
    gain = _one(found, "gain_over_champion", spec.metric)
    if gain is None and incomparable:
        return Gate("champion", limit, None, True, incomparable)
    not_compared = next((f for f in found if f.scope == "not_compared"), None)
    if gain is None and not_compared is not None:  # no version replaces a champion unjudged, unless a person says so
        detail = f"{' '.join((not_compared.note or '').split())} `ml-assets models promote` takes it all the same"
        return Gate("champion", limit, None, False, detail)
    if gain is None:
        return _not_evaluated(spec, "champion", limit, "not compared with today's champion")
    best_case = gain.value if gain.high is None else gain.high
    between = "" if gain.low is None else f"gain between {gain.low:.4g} and {best_case:.4g}"
    detail = "; ".join(filter(None, (between, gain.note)))
    return Gate("champion", limit, gain.value, best_case >= -rule.max_drop, detail)


def _costs(spec: PipelineSpec, found: Sequence[Finding], incomparable: str) -> list[Gate]:
    """The worst of both comparisons: with the champion's decisions, and with the cheapest constant decision."""
    rule = spec.gates.costs
    if rule is None or spec.costs is None:
        return []
    limit = f"not surely a loss of more than {_money(spec, rule.max_loss)} a row"
    gain = _one(found, "gain_over_champion", spec.metric)
    # Where the champion could not be compared, the gate `champion` fails and says why.
    alone = (
        incomparable or any(f.scope == "not_compared" for f in found) or (gain is not None and math.isnan(gain.value))
    )
    sides = ["saved_over_baseline", *([] if alone else ["saved_over_champion"])]
    saved = [one for one in (_one(found, side, "cost") for side in sides) if one is not None and one.rows]
    if len(saved) < len(sides):
        return [_not_evaluated(spec, "costs", limit, "no costs to compare")]
    lost = [one for one in saved if (one.value if one.high is None else one.high) < -rule.max_loss * one.rows]
    worst = min(lost or saved, key=lambda one: one.value)
    between = "" if worst.low is None else f", between {_money(spec, worst.low)} and {_money(spec, worst.high)}"
    detail = f"saved over {worst.note}: {_money(spec, worst.value)} on {worst.rows:,} rows{between}"
    return [Gate("costs", limit, -worst.value / worst.rows, not lost, detail)]


def _money(spec: PipelineSpec, value: float | None) -> str:
    return f"{value or 0:,.6g} {spec.costs.unit if spec.costs else ''}".strip()


def _slices(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    rule = spec.gates.slices
    if rule is None:
        return []
    metric = rule.metric or spec.metric
    limit = f"{metric} {_limit(0.0, rule.min, rule.max)[0]} in each slice of {rule.min_rows:,} rows or more"
    slices = [f for f in found if f.scope == "slice" and f.metric == metric and f.slice_by in rule.by]
    absent = sorted({*rule.by} - {f.slice_by for f in slices if f.slice_by})
    if absent:
        return [_not_evaluated(spec, "slices", limit, f"no slices by {', '.join(absent)}")]
    large = [f for f in slices if f.rows >= rule.min_rows]
    judged = [f for f in large if not math.isnan(f.value)]
    if not large:
        return [Gate("slices", limit, None, True, "no slice has that many rows")]
    if not judged:
        return [Gate("slices", limit, math.nan, False, f"{metric} is defined in no slice of that many rows")]
    bad = [f for f in judged if not _limit(f.value, rule.min, rule.max)[1]]
    worst = min(judged, key=lambda f: metrics.METRICS[metric].gain(f.value, 0.0))
    detail = _named(bad) if bad else f"worst: {worst.slice_by}={worst.slice}"
    undefined = [f"{f.slice_by}={f.slice}" for f in large if math.isnan(f.value)]
    if undefined:  # such as ROC AUC where all labels are equal: nobody is served badly there
        detail += f"; not defined in {', '.join(undefined[:MOST_NAMED])}"
    return [Gate("slices", limit, worst.value, not bad, detail)]


def _named(findings: Sequence[Finding]) -> str:
    texts = [
        f"{f.slice_by}={f.slice} ({f.value:.4g}, {f.rows:,} rows{', ' + f.note if f.note else ''})"
        for f in findings[:MOST_NAMED]
    ]
    more = len(findings) - MOST_NAMED
    return ", ".join([*texts, *([f"{more} more"] if more > 0 else [])])


def _sensitivity(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    rule = spec.gates.sensitivity
    if rule is None:
        return []
    limit = f"flips <= {rule.max_flips:g} under noise of {rule.noise:g} standard deviations"
    gates = [_at_most(spec, "sensitivity", limit, _one(found, "noise", "flips"), rule.max_flips)]
    if rule.max_flips_missing is not None:
        limit = f"flips <= {rule.max_flips_missing:g} where {rule.missing:.0%} of the values are missing"
        finding = _one(found, "missing", "flips")
        gates.append(_at_most(spec, "sensitivity.missing", limit, finding, rule.max_flips_missing))
    return gates


def _fairness(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    rule = spec.gates.fairness
    if rule is None:
        return []
    metric = rule.metric or (spec.metric if spec.target.kind == "regression" else "selection_rate")
    limit = f"{metric} of groups of {rule.min_rows:,} rows or more at most {rule.max_gap:g} apart"
    of_metric = [f for f in found if f.metric == metric and f.slice_by in rule.by]
    gaps = {f.slice_by: f for f in of_metric if f.scope == "fairness"}
    large = [f.slice_by for f in of_metric if f.scope == "group" and f.rows >= rule.min_rows and f.value == f.value]
    groups = {f.slice_by for f in of_metric if f.scope == "group"}
    alone = [column for column in rule.by if column in groups and large.count(column) < 2]
    absent = [column for column in rule.by if column not in alone and column not in gaps]
    if absent:
        return [_not_evaluated(spec, "fairness", limit, f"no groups by {', '.join(absent)}")]
    judged = [gaps[column] for column in rule.by if column not in alone]
    few = f"fewer than two groups of that many rows, where it is defined, by {', '.join(alone)}" if alone else ""
    if not judged:
        return [Gate("fairness", limit, None, True, few)]
    worst = max(judged, key=lambda f: math.inf if math.isnan(f.value) else f.value)
    named = [f"{f.slice_by}: {f.note or format(f.value, '.4g')}" for f in judged if not f.value <= rule.max_gap]
    detail = "; ".join([*(named or [f"widest by {worst.slice_by}" + (f": {worst.note}" if worst.note else "")]), few])
    return [Gate("fairness", limit, worst.value, not named, detail.strip("; "))]


def _calibration(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    if spec.gates.calibration is None:
        return []
    most = spec.gates.calibration.max_error
    limit = f"expected calibration error <= {most:g}"
    return [_at_most(spec, "calibration", limit, _one(found, "calibration", "ece"), most)]


def _leakage(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    rule = spec.gates.leakage
    if rule is None:
        return []
    limit = f"no feature alone explains more than {rule.max_single:g} of the target, none is the target"
    if rule.max_identical is not None:
        limit += f", at most {rule.max_identical:.4g} of the test rows stand among the train rows"
    single = [f for f in found if f.scope == "single"]
    identical = _one(found, "identical", "share")
    if not single or (identical is None and rule.max_identical is not None):
        return [_not_evaluated(spec, "leakage", limit)]
    strongest = max(single, key=lambda f: -math.inf if math.isnan(f.value) else f.value)  # a constant explains nothing
    disguised = [f for f in found if f.scope == "disguise" and "the target" in (f.note or "is the target")]
    signs = [f"{f.slice} {f.note or 'is the target'}" for f in disguised]  # one that says a key is no leak by itself
    signs += [f"{f.slice} alone: {f.metric} {f.value:.4g}" for f in single if f.value > rule.max_single]
    value = strongest.value
    if identical is not None and rule.max_identical is not None and not identical.value <= rule.max_identical:
        value = value if signs else identical.value
        signs.append(f"{identical.value:.4g} of the test rows stand among the train rows")
    detail = "; ".join(signs[:MOST_NAMED]) or f"strongest alone: {strongest.slice}"
    return [Gate("leakage", limit, value, not signs, detail)]


def _too_good(spec: PipelineSpec, found: Sequence[Finding]) -> list[Gate]:
    rule = spec.gates.leakage
    if rule is None or rule.max_score is None:
        return []
    metric = metrics.UNITLESS[spec.target.kind]
    limit = f"{metric} on test rows <= {rule.max_score:g} (gates.leakage.max_score), or a person approves"
    score = next((f for f in found if f.scope == "score"), None)
    if score is None:
        return [_not_evaluated(spec, TOO_GOOD, limit)]
    signs = leakage.too_good(rule, found)
    highest = max((f.value for f in found if f.scope in ("score", "together") and f.value == f.value), default=None)
    return [Gate(TOO_GOOD, limit, highest, not signs, "; ".join(signs) or score.note or "")]


def _refit(spec: PipelineSpec, release: Release | None) -> list[Gate]:
    if release is not None and release.serves == releases.REFIT:
        return judge_refit(spec, asdict(release))
    why = "the version was never packed" if release is None else release.serves_why or "by an earlier ml_assets"
    return judge_refit(spec, None, f"the judged model serves: {why}")


def judge_refit(spec: PipelineSpec, compared: Mapping[str, Any] | None, why: str = "") -> list[Gate]:
    """The gates on a model that was fitted again on all labelled rows.

    Args:
        spec: The pipeline.
        compared: How it compares with the judged model; None where the judged one serves.
        why: Why it does.
    """
    rule = spec.gates.refit
    if rule is None or spec.training.refit == releases.JUDGED:
        return []
    flips = f"right decisions that turn wrong by the fit on all rows <= {rule.max_negative_flips:g}"
    drop = f"{spec.metric} lost by the fit on all rows, where both models know the rows, <= {rule.max_drop:g}"
    if compared is None:
        return [Gate("refit.negative_flips", flips, None, True, why), Gate("refit.drop", drop, None, True, why)]
    lost = metrics.METRICS[spec.metric].drop(compared["known_served"], compared["known_judged"])
    return [
        _kept_to("refit.negative_flips", flips, compared["negative_flips"], rule.max_negative_flips),
        _kept_to("refit.drop", drop, lost, rule.max_drop),
    ]


def _kept_to(gate: str, limit: str, found: float | None, most: float) -> Gate:
    passed = found is not None and found <= most
    return Gate(gate, limit, found, passed, "" if found is not None else "not defined on these rows")


def _serving(spec: PipelineSpec, release: Release | None) -> list[Gate]:
    rule = spec.gates.serving
    if rule is None:
        return []
    measured: list[tuple[str, str, Callable[[Release], float | None], float]] = [
        ("parity", f"answers within {rule.parity:g} of the batch path", lambda r: r.parity, rule.parity),
        ("p95_ms", f"p95 of a one-row request <= {rule.p95_ms:g} ms", lambda r: r.p95_ms, rule.p95_ms),
        ("rss_mib", f"memory of the server <= {rule.rss_mib:g} MiB", lambda r: r.rss_mib, rule.rss_mib),
    ]
    again = f"materialize {spec.name}/release_candidate"
    gates = []
    for name, limit, value_of, most in measured:
        value, detail = None, ""
        if release is None:
            detail = f"not packed: {again}"
        elif not release.started:
            tried = f"its server did not start; the log is in the metadata of {spec.name}/release_candidate"
            detail = f"its server was never started: {again}" if release.parity is None else tried
        else:
            value = value_of(release)
            if value is None:
                detail = f"not measured: {again}"
            elif not math.isfinite(value):
                detail = "an answer was missing"
        gates.append(Gate(f"serving.{name}", limit, value, value is not None and value <= most, detail))
    return gates
