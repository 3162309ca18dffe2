"""What the gates decide about a version: why, and against which champion.

Does not belong here: what a person decides (approvals.py), and how decisions are kept (tables/decisions.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ml_assets.graph.release.promotion.gates import ASKS, TOO_GOOD, Evidence, judge, judge_evaluation
from ml_assets.lake.lake import Commit, Lake
from ml_assets.spec import PipelineSpec
from ml_assets.tables import evaluations, releases, versions
from ml_assets.tables.decisions import Decision, Gate, Word, decisions, newest_of, record
from ml_assets.tables.evaluations import EvaluatedNumber, finding_of
from ml_assets.tables.versions import ModelVersion

OVER_CHAMPION = ("gain_over_champion", "saved_over_champion", "not_compared")
ACCEPTED = "approved by a person,"


def decide(lake: Lake, spec: PipelineSpec, model: ModelVersion, commit: Commit) -> Decision:
    """Judge a version by its gates, record the decision, and move the alias that follows from it."""
    evaluation = evaluations.need_newest(lake, spec.name, model.version)
    champion = versions.alias(lake, spec.name, "champion")
    found, incomparable = _comparable(lake, spec.name, evaluation, model, champion)
    release = releases.newest(lake, spec.name, model.version)
    gates = judge(Evidence(spec, found, release, incomparable))
    gates = [_accepted(lake, spec.name, gate, model, champion) for gate in gates]
    failed = [gate for gate in gates if not gate.passed]
    shortfalls = "; ".join(gate.shortfall() for gate in failed)
    asks = {gate.gate for gate in failed} <= ASKS
    against = _decided_against(lake, spec.name, model.version)
    decision: Word
    if champion is not None and champion.version == model.version:
        decision, why = "kept", "it is the champion already"
        why += f", but fails today: {shortfalls}" if shortfalls else ""
    elif not asks:
        decision, why = "refused", shortfalls
    elif against is not None:
        verb = "rejected" if against.decision == "rejected" else "rolled back"
        decision = "refused"
        why = f"{verb} by {against.decided_by}: {against.why}; `ml-assets models promote` takes that back"
    elif failed:
        decision = "pending"
        why = f"too good to be true: {shortfalls}; waits for `ml-assets approve {spec.name} {model.version}`"
    elif spec.gates.approval == "manual":
        decision = "pending"
        why = f"all {len(gates)} gates passed; waits for `ml-assets approve {spec.name} {model.version}`"
    else:
        decision, why = "promoted", f"all {len(gates)} gates passed"
    previous = champion.version if champion else None
    made = Decision(model.version, decision, why, gates, previous, commit.triggered_by or versions.user())
    record(lake, spec.name, made, commit)
    return made


def _accepted(lake: Lake, pipeline: str, gate: Gate, model: ModelVersion, champion: ModelVersion | None) -> Gate:
    """A score that is too good needs approval once: not where the champion of the same features has one, too."""
    if gate.passed or gate.gate != TOO_GOOD or champion is None or champion.recipe["schema"] != model.recipe["schema"]:
        return gate
    made = newest_of(lake, pipeline, champion.version)
    was = {one.gate: one for one in made.gates}.get(TOO_GOOD) if made else None
    if was is None or (was.passed and not was.detail.startswith(ACCEPTED)):
        return gate
    return replace(gate, passed=True, detail=f"{ACCEPTED} as that of champion {champion.version}: {gate.detail}")


def evaluated(lake: Lake, spec: PipelineSpec, model: ModelVersion) -> list[Gate]:
    """How the gates that need no release are judged today, without those that only ask for approval.

    Raises:
        ModelError: The version has not been evaluated.
    """
    champion = versions.alias(lake, spec.name, "champion")
    evaluation = evaluations.need_newest(lake, spec.name, model.version)
    found, incomparable = _comparable(lake, spec.name, evaluation, model, champion)
    evidence = Evidence(spec, found, incomparable=incomparable)
    return [gate for gate in judge_evaluation(evidence) if gate.gate not in ASKS]


def _comparable(
    lake: Lake, pipeline: str, evaluation: list[dict[str, Any]], model: ModelVersion, champion: ModelVersion | None
) -> tuple[list[EvaluatedNumber], str]:
    """The findings that count today, and why there is no champion to compare with."""
    found = [finding_of(row) for row in evaluation]
    if champion is None:
        return found, "no champion to compare with yet"
    if champion.version == model.version:
        return found, "it is the champion itself"
    compared = versions.alias(lake, pipeline, "champion", evaluation[0]["evaluated_at"])
    if compared is None or compared.version != champion.version:  # the alias has moved since
        found = [finding for finding in found if finding.scope not in OVER_CHAMPION]
    return found, ""


def _decided_against(lake: Lake, pipeline: str, version: str) -> Decision | None:
    """A person's decision against a version, which no later training takes back: rejected, or rolled back from it."""
    for made in reversed(decisions(lake, pipeline)):
        if made.decision == "rolled_back" and made.previous_champion == version:
            return made
        if made.version == version and made.decision in ("rejected", "promoted", "rolled_back"):
            return made if made.decision == "rejected" else None
    return None
