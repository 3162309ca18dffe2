"""Changes of the source's columns against the batches before, as events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.tables.table import Column, Table
from ml_assets.tables.versions import now

SCHEMA_EVENTS = Table(
    "schema_events",
    "A change of a source column against the batches before.",
    (
        Column("recorded_at", "TIMESTAMP", "When it was recorded, UTC."),
        Column("batch", "VARCHAR", "The batch in whose files it was found."),
        Column("column_name", "VARCHAR", "The column."),
        Column("event", "VARCHAR", "first (no batch before it), added, removed or retyped."),
        Column("before", "VARCHAR", "SQL type in the batches before."),
        Column("after", "VARCHAR", "SQL type in this batch's files."),
        Column("handling", "VARCHAR", "What becomes of the values."),
        Column("run_id", "VARCHAR", "Dagster run that read the batch."),
    ),
    written_by="asset raw_data",
)


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


def types_until(lake: Lake, pipeline: str, batch: str) -> dict[str, str]:
    """Column -> SQL type that it had last in files of batches up to this one, in alphabetical order."""
    rows = SCHEMA_EVENTS.query(
        lake,
        pipeline,
        # Where a condition follows WHERE, DuckLake reads the statistics of all files of the lake.
        """SELECT column_name, last(coalesce(after, '') ORDER BY batch, recorded_at) FILTER (batch <= $batch) AS kind
        FROM {t} GROUP BY 1 ORDER BY 1""",
        {"batch": batch},
    )
    return {row["column_name"]: row["kind"] for row in rows if row["kind"]}


def puts(lake: Lake, pipeline: str, events: Sequence[SchemaEvent], commit: Commit) -> list[Put]:
    """The write that records the events, to be made with the batch's own."""
    if not events:
        return []
    rows = [{"recorded_at": now(), "run_id": commit.run_id, **asdict(event)} for event in events]
    return [SCHEMA_EVENTS.put(pipeline, lake.values(SCHEMA_EVENTS.types, rows), append=True)]
