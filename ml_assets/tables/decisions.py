"""Every decision about a version, with how each gate was judged; one a row.

An alias moves in the transaction of the decision that moves it.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables import versions
from ml_assets.tables.table import Column, Table

DECISIONS = Table(
    "champion",
    "A decision about a version.",
    (
        Column("version", "VARCHAR", "The version; of a rollback, the one that is champion again."),
        Column("decision", "VARCHAR", "promoted, refused, pending, kept, rejected or rolled_back."),
        Column("why", "VARCHAR", "What failed by how much, or a person's reason."),
        Column("decided_by", "VARCHAR", "Who or what decided.", earlier="by"),
        Column("decided_at", "TIMESTAMP", "When, UTC."),
        Column("previous_champion", "VARCHAR", "The champion before it; of a rollback, the one that was taken back."),
        Column("gates", "JSON", "How each gate was judged, when it last was: gate, limit, found, passed, detail."),
        Column("run_id", "VARCHAR", "Dagster run."),
    ),
    written_by="asset champion, commands approve, reject, models promote and models rollback",
    format=2,
)
Word = Literal["promoted", "refused", "pending", "kept", "rejected", "rolled_back"]
# What an alias names after a decision; the other decisions move none.
MOVES: dict[Word, versions.Alias] = {
    "promoted": "champion",
    "rolled_back": "champion",
    "refused": "challenger",
    "pending": "challenger",
}


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
        run_id: Dagster run.
    """

    version: str
    decision: Word
    why: str
    gates: list[Gate]
    previous_champion: str | None
    decided_by: str = field(default_factory=versions.user)
    decided_at: dt.datetime = field(default_factory=versions.now)
    run_id: str = ""


def decisions(lake: Lake, pipeline: str) -> list[Decision]:
    """Every decision of a pipeline, oldest first."""
    rows = DECISIONS.query(lake, pipeline, "SELECT * FROM {t} ORDER BY decided_at")
    fields = list(Decision.__dataclass_fields__)
    return [
        Decision(
            **{
                **{name: row[name] for name in fields},
                "gates": [Gate(**one) for one in json.loads(row["gates"] or "[]")],
            }
        )
        for row in rows
    ]


def pending(lake: Lake, pipeline: str) -> dict[str, Decision]:
    """Versions that wait for a person -> the decision that says so. One about another version changes nothing."""
    return pending_of(decisions(lake, pipeline))


def pending_of(made: Iterable[Decision]) -> dict[str, Decision]:
    """As `pending`, of decisions that are read already."""
    newest = {one.version: one for one in made}
    return {version: one for version, one in newest.items() if one.decision == "pending"}


def newest(lake: Lake, pipeline: str) -> Decision | None:
    """The newest decision about any version."""
    return next(reversed(decisions(lake, pipeline)), None)


def newest_of(lake: Lake, pipeline: str, version: str) -> Decision | None:
    """The newest decision about a version."""
    return next((made for made in reversed(decisions(lake, pipeline)) if made.version == version), None)


def record(lake: Lake, pipeline: str, made: Decision, commit: Commit) -> None:
    """Append a decision and its alias event in one snapshot."""
    row = {
        **{name: getattr(made, name) for name in Decision.__dataclass_fields__},
        "gates": json.dumps([gate.as_row() for gate in made.gates]),
        "run_id": commit.run_id,
    }
    tables = [DECISIONS.rows(pipeline, [row])]
    if made.decision in MOVES:
        alias = MOVES[made.decision]
        tables.append(versions.alias_event(pipeline, alias, made.version, made.why, made.decided_by, commit.run_id))
    lake.append(tables, commit)


def _number(value: float | None) -> float | None:
    """The value where it is a finite number: JSON has no other."""
    return value if value is not None and math.isfinite(value) else None
