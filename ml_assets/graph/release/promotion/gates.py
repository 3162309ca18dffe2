"""Gates: what the YAML demands of a version, judged on its evaluation and on its release, each as data.

A gate is a function here: of `Evidence` makes `Gate`s, none where the YAML does not demand it. A new one is written
below, where it shall stand in the order, under `@of_evaluation` or `@of_release`; its keys go to spec/model.py.

A demanded gate whose finding is missing fails and says what to materialize: an evaluation that an earlier version of
the code or of the YAML wrote may lack it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ml_assets import metrics
from ml_assets.graph.release.evaluation import leakage
from ml_assets.spec import PipelineSpec
from ml_assets.tables import releases
from ml_assets.tables.decisions import Gate
from ml_assets.tables.evaluations import EvaluatedNumber
from ml_assets.tables.releases import Release

MOST_NAMED = 5
TOO_GOOD = "leakage.score"
# A version that fails only these waits for approval: what looks like a leak may be an easy problem.
ASKS = frozenset({TOO_GOOD})


@dataclass(frozen=True)
class Evidence:
    """What gates are judged on.

    Args:
        spec: The pipeline.
        found: Findings of one evaluation.
        release: The version's newest release; None where it was never packed.
        incomparable: Why there is no champion to compare with; empty where the evaluation must hold a comparison.
    """

    spec: PipelineSpec
    found: Sequence[EvaluatedNumber] = ()
    release: Release | None = None
    incomparable: str = ""

    def one(self, scope: str, metric: str) -> EvaluatedNumber | None:
        """The finding of a scope and metric that is about all rows."""
        whole = (f for f in self.found if f.scope == scope and f.metric == metric and f.slice_by is None)
        return next(whole, None)

    def at_most(self, gate: str, limit: str, finding: EvaluatedNumber | None, most: float) -> Gate:
        """The gate on a finding that may not exceed a limit."""
        if finding is None:
            return self.not_evaluated(gate, limit)
        return Gate(gate, limit, finding.value, finding.value <= most, finding.note or _undefined(finding.value))

    def not_evaluated(self, gate: str, limit: str, what: str = "not evaluated") -> Gate:
        """The gate whose finding is missing."""
        return Gate(gate, limit, None, False, f"{what}: materialize {self.spec.name}/evaluation_report")


Judge = Callable[[Evidence], Iterable[Gate]]
OF_EVALUATION: list[Judge] = []
OF_RELEASE: list[Judge] = []


def of_evaluation(gate: Judge) -> Judge:
    """A gate that needs no release: such gates decide whether a version is fitted again on all labelled rows."""
    OF_EVALUATION.append(gate)
    return gate


def of_release(gate: Judge) -> Judge:
    """A gate on what a version ships as."""
    OF_RELEASE.append(gate)
    return gate


def judge(evidence: Evidence) -> list[Gate]:
    """Every gate that the YAML demands, in the order of this file; all of them, too, on no findings at all."""
    return [gate for judged in (*OF_EVALUATION, *OF_RELEASE) for gate in judged(evidence)]


def judge_evaluation(evidence: Evidence) -> list[Gate]:
    """The gates that need no release."""
    return [gate for judged in OF_EVALUATION for gate in judged(evidence)]


def _limit(value: float, low: float | None, high: float | None) -> tuple[str, bool]:
    """The limit in words, and whether a value keeps it; an undefined value keeps none."""
    words = [f">= {low:g}"] if low is not None else []
    words += [f"<= {high:g}"] if high is not None else []
    kept = not math.isnan(value) and (low is None or value >= low) and (high is None or value <= high)
    return " and ".join(words) or "defined", kept


def _undefined(value: float) -> str:
    return "not defined on these rows" if math.isnan(value) else ""


@of_evaluation
def _metrics(evidence: Evidence) -> list[Gate]:
    spec = evidence.spec
    gates = []
    for name, limit in spec.gates.metrics.items():
        finding = evidence.one("test", name)
        words, passed = _limit(math.nan if finding is None else finding.value, limit.min, limit.max)
        gate, demand = f"metrics.{name}", f"{name} {words}"
        if finding is None:
            gates.append(evidence.not_evaluated(gate, demand))
        else:
            gates.append(Gate(gate, demand, finding.value, passed, _undefined(finding.value)))
    return gates


@of_evaluation
def _overfit(evidence: Evidence) -> list[Gate]:
    spec = evidence.spec
    if spec.gates.overfit is None:
        return []
    most = spec.gates.overfit.max_gap
    limit = f"{spec.metric} of train over test <= {most:g}"
    train, test = evidence.one("train", spec.metric), evidence.one("test", spec.metric)
    if train is None or test is None:
        return [evidence.not_evaluated("overfit", limit)]
    gap = metrics.METRICS[spec.metric].gain(train.value, test.value)
    return [Gate("overfit", limit, gap, gap <= most, _undefined(gap))]


@of_evaluation
def _champion(evidence: Evidence) -> list[Gate]:
    spec, found = evidence.spec, evidence.found
    rule = spec.gates.champion
    limit = f"not worse in {spec.metric} by more than {rule.max_drop:g}, at {rule.confidence:.0%} confidence"
    gain = evidence.one("gain_over_champion", spec.metric)
    if gain is None and evidence.incomparable:
        return [Gate("champion", limit, None, True, evidence.incomparable)]
    not_compared = next((f for f in found if f.scope == "not_compared"), None)
    if (
        gain is None and not_compared is not None
    ):  # no version replaces a champion without a comparison, unless a person decides so
        detail = f"{' '.join((not_compared.note or '').split())} `ml-assets models promote` promotes it anyway"
        return [Gate("champion", limit, None, False, detail)]
    if gain is None:
        return [evidence.not_evaluated("champion", limit, "not compared with today's champion")]
    best_case = gain.value if gain.high is None else gain.high
    between = "" if gain.low is None else f"gain between {gain.low:.4g} and {best_case:.4g}"
    detail = "; ".join(filter(None, (between, gain.note)))
    return [Gate("champion", limit, gain.value, best_case >= -rule.max_drop, detail)]


@of_evaluation
def _costs(evidence: Evidence) -> list[Gate]:
    """The worst of both comparisons: with the champion's decisions, and with the cheapest constant decision."""
    spec, found = evidence.spec, evidence.found
    rule = spec.gates.costs
    if rule is None or spec.costs is None:
        return []
    limit = f"no significant loss of more than {_money(spec, rule.max_loss)} a row"
    gain = evidence.one("gain_over_champion", spec.metric)
    # Where the champion could not be compared, the gate `champion` fails and says why.
    not_compared = any(f.scope == "not_compared" for f in found) or (gain is not None and math.isnan(gain.value))
    sides = ["saved_over_baseline", *([] if evidence.incomparable or not_compared else ["saved_over_champion"])]
    saved = [one for one in (evidence.one(side, "cost") for side in sides) if one is not None and one.rows]
    if len(saved) < len(sides):
        return [evidence.not_evaluated("costs", limit, "no costs to compare")]
    lost = [one for one in saved if (one.value if one.high is None else one.high) < -rule.max_loss * one.rows]
    worst = min(lost or saved, key=lambda one: one.value)
    between = "" if worst.low is None else f", between {_money(spec, worst.low)} and {_money(spec, worst.high)}"
    detail = f"saved over {worst.note}: {_money(spec, worst.value)} on {worst.rows:,} rows{between}"
    return [Gate("costs", limit, -worst.value / worst.rows, not lost, detail)]


def _money(spec: PipelineSpec, value: float | None) -> str:
    return f"{value or 0:,.6g} {spec.costs.unit if spec.costs else ''}".strip()


@of_evaluation
def _slices(evidence: Evidence) -> list[Gate]:
    spec, found = evidence.spec, evidence.found
    rule = spec.gates.slices
    if rule is None:
        return []
    metric = rule.metric or spec.metric
    limit = f"{metric} {_limit(0.0, rule.min, rule.max)[0]} in each slice of {rule.min_rows:,} rows or more"
    slices = [f for f in found if f.scope == "slice" and f.metric == metric and f.slice_by in rule.by]
    absent = sorted({*rule.by} - {f.slice_by for f in slices if f.slice_by})
    if absent:
        return [evidence.not_evaluated("slices", limit, f"no slices by {', '.join(absent)}")]
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


def _named(findings: Sequence[EvaluatedNumber]) -> str:
    texts = [
        f"{f.slice_by}={f.slice} ({f.value:.4g}, {f.rows:,} rows{', ' + f.note if f.note else ''})"
        for f in findings[:MOST_NAMED]
    ]
    more = len(findings) - MOST_NAMED
    return ", ".join([*texts, *([f"{more} more"] if more > 0 else [])])


@of_evaluation
def _sensitivity(evidence: Evidence) -> list[Gate]:
    spec = evidence.spec
    rule = spec.gates.sensitivity
    if rule is None:
        return []
    limit = f"flips <= {rule.max_flips:g} under noise of {rule.noise:g} standard deviations"
    gates = [evidence.at_most("sensitivity", limit, evidence.one("noise", "flips"), rule.max_flips)]
    if rule.max_flips_missing is not None:
        limit = f"flips <= {rule.max_flips_missing:g} where {rule.missing:.0%} of the values are missing"
        finding = evidence.one("missing", "flips")
        gates.append(evidence.at_most("sensitivity.missing", limit, finding, rule.max_flips_missing))
    return gates


@of_evaluation
def _fairness(evidence: Evidence) -> list[Gate]:
    spec, found = evidence.spec, evidence.found
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
        return [evidence.not_evaluated("fairness", limit, f"no groups by {', '.join(absent)}")]
    judged = [gaps[column] for column in rule.by if column not in alone]
    few = f"fewer than two groups of that many rows, where it is defined, by {', '.join(alone)}" if alone else ""
    if not judged:
        return [Gate("fairness", limit, None, True, few)]
    worst = max(judged, key=lambda f: math.inf if math.isnan(f.value) else f.value)
    named = [f"{f.slice_by}: {f.note or format(f.value, '.4g')}" for f in judged if not f.value <= rule.max_gap]
    detail = "; ".join([*(named or [f"widest by {worst.slice_by}" + (f": {worst.note}" if worst.note else "")]), few])
    return [Gate("fairness", limit, worst.value, not named, detail.strip("; "))]


@of_evaluation
def _calibration(evidence: Evidence) -> list[Gate]:
    spec = evidence.spec
    if spec.gates.calibration is None:
        return []
    most = spec.gates.calibration.max_error
    limit = f"expected calibration error <= {most:g}"
    return [evidence.at_most("calibration", limit, evidence.one("calibration", "ece"), most)]


@of_evaluation
def _leakage(evidence: Evidence) -> list[Gate]:
    spec, found = evidence.spec, evidence.found
    rule = spec.gates.leakage
    if rule is None:
        return []
    limit = f"no feature alone explains more than {rule.max_single:g} of the target, none is a copy of it"
    if rule.max_identical is not None:
        limit += f", at most {rule.max_identical:.4g} of the test rows repeat training rows"
    single = [f for f in found if f.scope == "single"]
    identical = evidence.one("identical", "share")
    if not single or (identical is None and rule.max_identical is not None):
        return [evidence.not_evaluated("leakage", limit)]
    strongest = max(single, key=lambda f: -math.inf if math.isnan(f.value) else f.value)  # a constant explains nothing
    proxies = [f for f in found if f.scope == "target_proxy" and "the target" in (f.note or "is the target")]
    signs = [f"{f.slice} {f.note or 'is the target'}" for f in proxies]  # one that says a key is no leak by itself
    signs += [f"{f.slice} alone: {f.metric} {f.value:.4g}" for f in single if f.value > rule.max_single]
    value = strongest.value
    if identical is not None and rule.max_identical is not None and not identical.value <= rule.max_identical:
        value = value if signs else identical.value
        signs.append(f"{identical.value:.4g} of the test rows repeat training rows")
    detail = "; ".join(signs[:MOST_NAMED]) or f"strongest alone: {strongest.slice}"
    return [Gate("leakage", limit, value, not signs, detail)]


@of_evaluation
def _too_good(evidence: Evidence) -> list[Gate]:
    spec, found = evidence.spec, evidence.found
    rule = spec.gates.leakage
    if rule is None or rule.max_score is None:
        return []
    metric = metrics.UNITLESS[spec.target.kind]
    limit = f"{metric} on test rows <= {rule.max_score:g} (gates.leakage.max_score), or a person approves"
    score = next((f for f in found if f.scope == "score"), None)
    if score is None:
        return [evidence.not_evaluated(TOO_GOOD, limit)]
    signs = leakage.too_good(rule, found)
    highest = max((f.value for f in found if f.scope in ("score", "together") and f.value == f.value), default=None)
    return [Gate(TOO_GOOD, limit, highest, not signs, "; ".join(signs) or score.note or "")]


@of_release
def _refit(evidence: Evidence) -> list[Gate]:
    spec, release = evidence.spec, evidence.release
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
    flips = f"correct decisions that become wrong after the refit on all rows <= {rule.max_negative_flips:g}"
    drop = f"{spec.metric} lost by the refit on all rows, on rows that both models know, <= {rule.max_drop:g}"
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


@of_release
def _serving(evidence: Evidence) -> list[Gate]:
    spec, release = evidence.spec, evidence.release
    rule = spec.gates.serving
    if rule is None:
        return []
    measured: list[tuple[str, str, Callable[[Release], float | None], float]] = [
        ("parity", f"predictions within {rule.parity:g} of batch scoring", lambda r: r.parity, rule.parity),
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
                detail = "a prediction was missing or decided otherwise"
        gates.append(Gate(f"serving.{name}", limit, value, value is not None and value <= most, detail))
    return gates
