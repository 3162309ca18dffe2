"""Maintenance of a pipeline's tables, and a row for each run of it."""

from __future__ import annotations

import datetime as dt

from ml_assets.errors import LakeError, did_you_mean
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.maintenance import GRACE, MaintenanceResult, Needs, maintain
from ml_assets.tables.audit import keep_writes
from ml_assets.tables.table import Column, Table
from ml_assets.tables.training_sets import pinned
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


OWN = (MAINTENANCE.name, MAINTENANCE.earlier_name)  # under which its writes are in the audit trail


def run_maintenance(
    lake: Lake, pipeline: str, keep_days: int, run_id: str = "", dry_run: bool = False, grace: dt.timedelta = GRACE
) -> MaintenanceResult:
    """Do the maintenance of a pipeline, and record it.

    Args:
        lake: The lake.
        pipeline: Whose tables are merged and whose snapshots expire; files are removed in the whole lake.
        keep_days: Days for which everything stays readable as it was.
        run_id: Dagster run.
        dry_run: Only say what would be done.
        grace: How long a file stays after it was replaced.

    Raises:
        LakeError: There is no such pipeline.
    """
    pipelines = sorted({name.partition(".")[0] for name in lake.tables()})
    if pipeline not in pipelines:
        raise LakeError(f"The lake has no pipeline {pipeline!r}.", fix=did_you_mean(pipeline, pipelines))
    commit, own = Commit(asset=MAINTENANCE.asset(pipeline), run_id=run_id), [f"{pipeline}/{name}" for name in OWN]
    needs = Needs(lambda: pinned(lake), lambda snapshots: keep_writes(lake, pipeline, snapshots, own, commit))
    done = maintain(lake, pipeline, keep_days, needs, commit, dry_run, grace)
    if not dry_run:
        row = {**done.__dict__, "snapshots_expired": len(done.snapshots), "keep_days": keep_days, "run_id": run_id}
        MAINTENANCE.rename(lake, pipeline, commit)
        lake.append([MAINTENANCE.rows(pipeline, [{"finished_at": now(), **row}])], commit)
    return done


def last_run(lake: Lake, pipeline: str) -> dt.datetime | None:
    """When the maintenance of a pipeline ended last, UTC; None where it never has."""
    rows = MAINTENANCE.query(lake, pipeline, "SELECT max(finished_at) AS finished_at FROM {t}")
    return rows[0]["finished_at"] if rows else None
