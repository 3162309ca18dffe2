"""The decision about a version: promoted, refused, pending or kept, why and by whom; it alone moves the aliases."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from ml_assets.errors import ModelError, did_you_mean
from ml_assets.graph.release.evaluation import Finding
from ml_assets.graph.release.gates import Gate, judge
from ml_assets.spec import PipelineSpec
from ml_assets.store import registry
from ml_assets.store.lake import Commit, Lake, Rows
from ml_assets.store.registry import ModelVersion, now, user
from ml_assets.store.sql import table

COLUMNS = {
    "version": "VARCHAR",
    "decision": "VARCHAR",
    "why": "VARCHAR",
    "by": "VARCHAR",
    "decided_at": "TIMESTAMP",
    "previous_champion": "VARCHAR",
    "gates": "JSON",
    "run_id": "VARCHAR",
}
Word = Literal["promoted", "refused", "pending", "kept"]


@dataclass(frozen=True)
class Decision:
    """What was decided about a version."""

    version: str
    decision: Word
    why: str
    gates: list[Gate]
    previous_champion: str | None


def findings(lake: Lake, pipeline: str, version: str) -> list[Finding]:
    """The newest evaluation of a version.

    Raises:
        ModelError: It has not been evaluated.
    """
    name = f"{pipeline}.evaluation_report"
    written = lake.columns(table(name)) if lake.exists(name) else {}
    fields = [field for field in Finding.__dataclass_fields__ if field in written]  # older evaluations have no notes
    rows = (
        lake.rows(
            f"""SELECT {", ".join(fields)} FROM {table(name)} WHERE version = ?
            QUALIFY evaluated_at = max(evaluated_at) OVER ()""",
            [version],
        )
        if written
        else []
    )
    if not rows:
        raise ModelError(
            f"Version {version} has not been evaluated.",
            where={"pipeline": pipeline},
            fix=f"Materialize {pipeline}/evaluation_report.",
        )
    return [Finding(**row) for row in rows]


def decide(lake: Lake, spec: PipelineSpec, model: ModelVersion, commit: Commit) -> Decision:
    """Judge a version by its gates, record the decision, and move the alias that follows from it."""
    gates = judge(spec, findings(lake, spec.name, model.version))
    champion = registry.alias(lake, spec.name, "champion")
    failed = [gate for gate in gates if not gate.passed]
    decision: Word
    if champion is not None and champion.version == model.version:
        decision, why = "kept", "it is the champion already"
    elif failed:
        decision, why = "refused", "; ".join(_shortfall(gate) for gate in failed)
    elif spec.gates.approval == "manual":
        decision, why = (
            "pending",
            f"all {len(gates)} gates passed; waits for `ml-assets approve {spec.name} {model.version}`",
        )
    else:
        decision, why = "promoted", f"all {len(gates)} gates passed"
    made = Decision(model.version, decision, why, gates, champion.version if champion else None)
    _record(lake, spec.name, made, commit, user())
    return made


def _shortfall(gate: Gate) -> str:
    found = "not defined" if gate.found is None else f"{gate.found:.4g}"
    return f"{gate.gate}: {gate.limit}, found {found}" + (f" ({gate.detail})" if gate.detail else "")


def approve(lake: Lake, pipeline: str, version: str, why: str) -> Decision:
    """A person promotes a version that waits for approval.

    Raises:
        ModelError: The version does not wait for approval.
    """
    waiting = pending(lake, pipeline)
    if version not in waiting:
        raise ModelError(
            f"Version {version} does not wait for approval.",
            where={"pipeline": pipeline},
            fix=did_you_mean(version, waiting) if waiting else "No version of the pipeline waits.",
        )
    champion = registry.alias(lake, pipeline, "champion")
    gates = [Gate(**gate) for gate in waiting[version]]
    made = Decision(version, "promoted", why, gates, champion.version if champion else None)
    _record(lake, pipeline, made, Commit(asset=f"{pipeline}/champion"), user())
    return made


def pending(lake: Lake, pipeline: str) -> dict[str, list[dict[str, Any]]]:
    """Versions whose newest decision is pending -> their gates."""
    name = f"{pipeline}.champion"
    if not lake.exists(name):
        return {}
    rows = lake.rows(
        f"""SELECT version, gates FROM {table(name)}
        QUALIFY row_number() OVER (PARTITION BY version ORDER BY decided_at DESC) = 1 AND decision = 'pending'"""
    )
    return {row["version"]: json.loads(row["gates"]) for row in rows}


def _record(lake: Lake, pipeline: str, made: Decision, commit: Commit, by: str) -> None:
    """Append the decision and its alias event in one snapshot."""
    row = {
        "version": made.version,
        "decision": made.decision,
        "why": made.why,
        "by": by,
        "decided_at": now(),
        "previous_champion": made.previous_champion,
        "gates": json.dumps([gate.as_row() for gate in made.gates]),
        "run_id": commit.run_id,
    }
    tables = [Rows(f"{pipeline}.champion", COLUMNS, [row])]
    if made.decision != "kept":
        alias: registry.Alias = "champion" if made.decision == "promoted" else "challenger"
        tables.append(registry.alias_event(pipeline, alias, made.version, made.why, by, commit.run_id))
    lake.append(tables, commit)
