"""Maintenance: a row for each run of it."""

from __future__ import annotations

from typing import Any

from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables.table import Column, Table
from ml_assets.tables.versions import now

MAINTENANCE = Table(
    "maintenance",
    "A run of the maintenance.",
    (
        Column("finished_at", "TIMESTAMP", "When it ended, UTC."),
        Column("keep_days", "INTEGER", "Days for which everything stays readable as it was."),
        Column("snapshots_expired", "BIGINT", "Snapshots that expired."),
        Column("files_merged", "BIGINT", "Small files, and files with deleted rows, that were written as fewer."),
        Column("files_removed", "BIGINT", "Files that were deleted."),
        Column("bytes_before", "BIGINT", "Bytes of all files of the lake."),
        Column("bytes_after", "BIGINT", "The same afterwards."),
        Column("seconds", "DOUBLE", "How long it took."),
        Column("run_id", "VARCHAR", "Dagster run."),
    ),
    written_by="job PIPELINE_maintenance",
    format=2,
    earlier_name="upkeep",
)


def record(lake: Lake, pipeline: str, row: dict[str, Any], commit: Commit) -> None:
    """Append a run."""
    MAINTENANCE.rename(lake, pipeline, commit)
    lake.append([MAINTENANCE.rows(pipeline, [{"finished_at": now(), **row}])], commit)
