"""Changes of the source's columns against the batches before, as events. Table: `<pipeline>.schema_events`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.lake.sql import table
from ml_assets.spec import PipelineSpec
from ml_assets.tables.versions import now

COLUMNS = {
    "recorded_at": "TIMESTAMP",
    "batch": "VARCHAR",
    "column_name": "VARCHAR",
    "event": "VARCHAR",
    "before": "VARCHAR",
    "after": "VARCHAR",
    "handling": "VARCHAR",
    "run_id": "VARCHAR",
}


@dataclass(frozen=True)
class SchemaEvent:
    """One change.

    Args:
        event: first (no batch before it), added, removed, or retyped.
        before: SQL type in the batches before.
        after: SQL type in this batch's files.
        handling: What becomes of the values.
    """

    batch: str
    column_name: str
    event: str
    before: str | None
    after: str | None
    handling: str


def changes(lake: Lake, spec: PipelineSpec, batch: str, found: Mapping[str, str]) -> list[SchemaEvent]:
    """What differs from the columns of the batches before, and is not recorded yet.

    Args:
        found: Column name -> SQL type in the batch's files.
    """
    before = _found_until(lake, spec, batch)
    events = []
    for name in dict.fromkeys([*before, *found]):
        old, new = before.get(name), found.get(name)
        if old == new:
            continue
        event = "first" if not before else "added" if old is None else "removed" if new is None else "retyped"
        events.append(SchemaEvent(batch, name, event, old, new, _handling(spec, name, new)))
    return events


def _found_until(lake: Lake, spec: PipelineSpec, batch: str) -> dict[str, str]:
    name = f"{spec.name}.schema_events"
    if not lake.exists(name):
        return {}
    rows = lake.rows(
        f"""SELECT column_name, last(coalesce(after, '') ORDER BY batch, recorded_at) AS kind FROM {table(name)}
        WHERE batch <= $batch GROUP BY 1 ORDER BY 1""",
        {"batch": batch},
    )
    return {row["column_name"]: row["kind"] for row in rows if row["kind"]}


def _handling(spec: PipelineSpec, name: str, kind: str | None) -> str:
    declared = next((column for column in spec.columns if column.name.lower() == name.lower()), None)
    if kind is None:
        return "NULL in this batch" if declared else "no more values"
    if declared is None:
        return "kept as text" if spec.tolerate.new_columns == "keep" else "left out"
    return f"read as {declared.type}; values that are none are quarantined"


def puts(lake: Lake, spec: PipelineSpec, events: Sequence[SchemaEvent], commit: Commit) -> list[Put]:
    """The write that records the events, to be made with the batch's own."""
    if not events:
        return []
    rows = [{"recorded_at": now(), "run_id": commit.run_id, **asdict(event)} for event in events]
    return [Put(f"{spec.name}.schema_events", lake.values(COLUMNS, rows), append=True)]
