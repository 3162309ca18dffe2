"""The decision about a version, why and by whom, as a row of `<pipeline>.champion`; it alone moves the aliases.

Belongs here: what the gates decide. What a person decides is in answers.py.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ml_assets.errors import ModelError
from ml_assets.graph.release.evaluation.evaluate import Finding
from ml_assets.graph.release.promotion.gates import ASKS, TOO_GOOD, Gate, judge, judge_evaluation
from ml_assets.lake.lake import Commit, Lake, Rows, as_named
from ml_assets.spec import PipelineSpec
from ml_assets.tables import releases, versions
from ml_assets.tables.versions import ModelVersion

COLUMNS = {
    "version": "VARCHAR",
    "decision": "VARCHAR",
    "why": "VARCHAR",
    "decided_by": "VARCHAR",
    "decided_at": "TIMESTAMP",
    "previous_champion": "VARCHAR",
    "gates": "JSON",
    "run_id": "VARCHAR",
}
RENAMED = {"decided_by": "by"}  # a keyword of SQL
Word = Literal["promoted", "refused", "pending", "kept", "rejected", "rolled_back"]
OVER_CHAMPION = ("gain_over_champion", "saved_over_champion", "not_compared")
ACCEPTED = "approved by a person,"
# What an alias names after a decision; the other decisions move none.
MOVES: dict[Word, versions.Alias] = {
    "promoted": "champion",
    "rolled_back": "champion",
    "refused": "challenger",
    "pending": "challenger",
}


@dataclass(frozen=True)
class Decision:
    """What was decided about a version.

    Args:
        version: The version; of a rollback, the one that is champion again.
        decision: promoted, refused, pending, kept (it was the champion already), rejected or rolled_back.
        why: What failed by how much, or a person's reason.
        gates: How each gate was judged, when it last was.
        previous_champion: The champion before it; of a rollback, the version that was taken back.
        decided_by: Who or what decided.
        decided_at: When, UTC.
    """

    version: str
    decision: Word
    why: str
    gates: list[Gate]
    previous_champion: str | None
    decided_by: str = field(default_factory=versions.user)
    decided_at: dt.datetime = field(default_factory=versions.now)


def findings(lake: Lake, pipeline: str, version: str) -> list[Finding]:
    """The newest evaluation of a version.

    Raises:
        ModelError: It has not been evaluated.
    """
    return [_finding(row) for row in _evaluation(lake, pipeline, version)]


def test_score(lake: Lake, spec: PipelineSpec, version: str) -> str:
    """The test score of a version, as `roc_auc 0.7134 on 12,000 test rows`."""
    found = findings(lake, spec.name, version)
    told = [one for one in found if one.scope == "test" and one.metric == spec.metric]
    return ", ".join(f"{one.metric} {one.value:.4f} on {one.rows:,} test rows" for one in told) or "no test score"


def _evaluation(lake: Lake, pipeline: str, version: str) -> list[dict[str, Any]]:
    rows = lake.rows_of(
        f"{pipeline}.evaluation_report",
        "SELECT * FROM {t} WHERE version = ? QUALIFY evaluated_at = max(evaluated_at) OVER ()",
        [version],
    )
    if not rows:
        raise ModelError(
            f"Version {version} has not been evaluated.",
            where={"pipeline": pipeline},
            fix=f"Materialize {pipeline}/evaluation_report.",
        )
    return rows


def _finding(row: dict[str, Any]) -> Finding:
    """A row as a finding; a table of an earlier version may lack columns, and the lake keeps no NaN but NULL."""
    known = {name: row[name] for name in Finding.__dataclass_fields__ if name in row}
    return Finding(**{**known, "value": math.nan if row["value"] is None else row["value"]})


def decide(lake: Lake, spec: PipelineSpec, model: ModelVersion, commit: Commit) -> Decision:
    """Judge a version by its gates, record the decision, and move the alias that follows from it."""
    evaluation = _evaluation(lake, spec.name, model.version)
    champion = versions.alias(lake, spec.name, "champion")
    found, incomparable = _comparable(lake, spec.name, evaluation, model, champion)
    gates = judge(spec, found, releases.newest(lake, spec.name, model.version), incomparable)
    gates = [_accepted(lake, spec.name, gate, model, champion) for gate in gates]
    failed = [gate for gate in gates if not gate.passed]
    shortfalls = "; ".join(gate.shortfall() for gate in failed)
    asks = {gate.gate for gate in failed} <= ASKS
    against = _answered_no(lake, spec.name, model.version)
    decision: Word
    if champion is not None and champion.version == model.version:
        decision, why = "kept", "it is the champion already"
        why += f", but fails today: {shortfalls}" if shortfalls else ""
    elif not asks:
        decision, why = "refused", shortfalls
    elif against is not None:
        answer = "rejected" if against.decision == "rejected" else "rolled back"
        decision = "refused"
        why = f"{answer} by {against.decided_by}: {against.why}; `ml-assets models promote` takes that back"
    elif failed:
        decision = "pending"
        why = f"too good to be true: {shortfalls}; waits for `ml-assets approve {spec.name} {model.version}`"
    elif spec.gates.approval == "manual":
        decision = "pending"
        why = f"all {len(gates)} gates passed; waits for `ml-assets approve {spec.name} {model.version}`"
    else:
        decision, why = "promoted", f"all {len(gates)} gates passed"
    previous = champion.version if champion else None
    made = Decision(model.version, decision, why, gates, previous, commit.asked_by or versions.user())
    record(lake, spec.name, made, commit)
    return made


def _accepted(lake: Lake, pipeline: str, gate: Gate, model: ModelVersion, champion: ModelVersion | None) -> Gate:
    """A score that is too good is asked about once: not where the champion of the same features has one, too."""
    if gate.passed or gate.gate != TOO_GOOD or champion is None or champion.recipe["schema"] != model.recipe["schema"]:
        return gate
    made = newest_of(lake, pipeline, champion.version)
    was = {one.gate: one for one in made.gates}.get(TOO_GOOD) if made else None
    if was is None or (was.passed and not was.detail.startswith(ACCEPTED)):
        return gate
    return replace(gate, passed=True, detail=f"{ACCEPTED} as that of champion {champion.version}: {gate.detail}")


def evaluated(lake: Lake, spec: PipelineSpec, model: ModelVersion) -> list[Gate]:
    """How the gates that need no release are judged today, without those that only ask a person.

    Raises:
        ModelError: The version has not been evaluated.
    """
    champion = versions.alias(lake, spec.name, "champion")
    found = _comparable(lake, spec.name, _evaluation(lake, spec.name, model.version), model, champion)
    return [gate for gate in judge_evaluation(spec, *found) if gate.gate not in ASKS]


def _comparable(
    lake: Lake, pipeline: str, evaluation: list[dict[str, Any]], model: ModelVersion, champion: ModelVersion | None
) -> tuple[list[Finding], str]:
    """The findings that count today, and why there is no champion to compare with."""
    found = [_finding(row) for row in evaluation]
    if champion is None:
        return found, "no champion to compare with yet"
    if champion.version == model.version:
        return found, "it is the champion itself"
    compared = versions.alias(lake, pipeline, "champion", evaluation[0]["evaluated_at"])
    if compared is None or compared.version != champion.version:  # the alias has moved since
        found = [finding for finding in found if finding.scope not in OVER_CHAMPION]
    return found, ""


def decisions(lake: Lake, pipeline: str) -> list[Decision]:
    """Every decision of a pipeline, oldest first."""
    stored = lake.rows_of(f"{pipeline}.champion", "SELECT * FROM {t} ORDER BY decided_at")
    rows = [as_named(row, RENAMED) for row in stored]
    fields = list(Decision.__dataclass_fields__)
    return [
        Decision(**{**{name: row[name] for name in fields}, "gates": [Gate(**one) for one in json.loads(row["gates"])]})
        for row in rows
    ]


def pending(lake: Lake, pipeline: str) -> dict[str, Decision]:
    """Versions that wait for a person -> the decision that says so. One about another version changes nothing."""
    newest = {made.version: made for made in decisions(lake, pipeline)}
    return {version: made for version, made in newest.items() if made.decision == "pending"}


def newest_of(lake: Lake, pipeline: str, version: str) -> Decision | None:
    """The newest decision about a version."""
    return next((made for made in reversed(decisions(lake, pipeline)) if made.version == version), None)


def _answered_no(lake: Lake, pipeline: str, version: str) -> Decision | None:
    """A person's decision against a version, which no later training takes back: rejected, or rolled back from it."""
    for made in reversed(decisions(lake, pipeline)):
        if made.decision == "rolled_back" and made.previous_champion == version:
            return made
        if made.version == version and made.decision in ("rejected", "promoted", "rolled_back"):
            return made if made.decision == "rejected" else None
    return None


def record(lake: Lake, pipeline: str, made: Decision, commit: Commit) -> None:
    """Append a decision and its alias event in one snapshot."""
    row = {
        **{name: getattr(made, name) for name in Decision.__dataclass_fields__},
        "gates": json.dumps([gate.as_row() for gate in made.gates]),
        "run_id": commit.run_id,
    }
    tables = [Rows(f"{pipeline}.champion", COLUMNS, [row], renamed=RENAMED)]
    if made.decision in MOVES:
        alias = MOVES[made.decision]
        tables.append(versions.alias_event(pipeline, alias, made.version, made.why, made.decided_by, commit.run_id))
    lake.append(tables, commit)
