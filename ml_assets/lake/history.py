"""The history of the lake: its snapshots, which models need them, and what changed between two of them.

Belongs here: reading history. Does not: writing an earlier state again (restore.py), expiring snapshots
(maintenance.py).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ml_assets.errors import LakeError, UnknownPipeline
from ml_assets.lake.compare import BatchChange, compare
from ml_assets.lake.lake import Lake, at
from ml_assets.lake.sql import table


@dataclass(frozen=True)
class Snapshot:
    """One write of the lake.

    Args:
        written_at: UTC.
        asset: Asset key; None where something else than ml_assets wrote it.
        batch: The batch that was written, if it was one.
        rows: Table -> rows written; None where the commit does not say.
        models: Model versions that were trained on this state of the lake, such as `flights@1.2.0`.
        restored: For a restore: the earlier snapshot, by whom and why.
    """

    snapshot_id: int
    written_at: dt.datetime
    asset: str | None
    batch: str | None
    rows: dict[str, int | None]
    run_id: str | None
    code_version: str | None
    models: list[str]
    restored: dict[str, Any] | None = None


@dataclass(frozen=True)
class TableChange:
    """What changed in one table.

    Args:
        state: created | dropped | changed.
        key: Columns that tell which rows are the same one; empty where there are none, and a changed row then counts
            as one removed and one added.
        old: Column -> type before; empty where the table was not there.
        new: Column -> type after.
    """

    table: str
    state: str
    key: list[str]
    old: dict[str, str]
    new: dict[str, str]
    batches: list[BatchChange]

    @property
    def columns_added(self) -> dict[str, str]:
        return {column: kind for column, kind in self.new.items() if column not in self.old}

    @property
    def columns_removed(self) -> dict[str, str]:
        return {column: kind for column, kind in self.old.items() if column not in self.new}

    @property
    def retyped(self) -> dict[str, tuple[str, str]]:
        """Column -> type before and after."""
        return {c: (kind, self.new[c]) for c, kind in self.old.items() if c in self.new and kind != self.new[c]}


def snapshots(
    lake: Lake,
    models: Mapping[int, list[str]],
    pipeline: str | None = None,
    batch: str | None = None,
    limit: int | None = None,
) -> list[Snapshot]:
    """Snapshots that are kept, newest first.

    Args:
        lake: The lake.
        models: Snapshot -> model versions that were trained on it, such as `flights@1.2.0`.
        pipeline: Only what this pipeline wrote, and what its models were trained on.
        batch: Only writes of this batch.
        limit: Maximum number of snapshots.
    """
    own = [number for number, names in models.items() if any(name.startswith(f"{pipeline}@") for name in names)]
    rows = lake.rows(
        """
        SELECT snapshot_id, snapshot_time AT TIME ZONE 'UTC' AS written_at, commit_message AS message,
            TRY_CAST(commit_extra_info AS JSON)::VARCHAR AS extra
        FROM lake.snapshots()
        WHERE ($pipeline IS NULL OR starts_with(commit_message, $pipeline || '/') OR list_contains($own, snapshot_id))
            AND ($batch IS NULL OR (TRY_CAST(commit_extra_info AS JSON) ->> 'batch') = $batch)
        ORDER BY snapshot_id DESC LIMIT $limit
        """,
        {"pipeline": pipeline, "batch": batch, "limit": limit, "own": own},
    )
    return [_snapshot(row, models.get(row["snapshot_id"], [])) for row in rows]


def _snapshot(row: dict[str, Any], models: list[str]) -> Snapshot:
    extra = json.loads(row["extra"] or "{}")
    counts = extra.get("rows", {})
    return Snapshot(
        snapshot_id=row["snapshot_id"],
        written_at=row["written_at"],
        asset=row["message"],
        batch=extra.get("batch"),
        rows={name: counts.get(name) for name in extra.get("data_versions", {})},
        run_id=extra.get("run_id") or None,
        code_version=extra.get("code_version") or None,
        models=models,
        restored=extra.get("restored"),
    )


def check_snapshot(lake: Lake, snapshot: int) -> None:
    """Refuse an id that no snapshot has, or no longer has.

    Raises:
        LakeError: There is no such snapshot.
    """
    ids = [int(row[0]) for row in lake.fetch("SELECT snapshot_id FROM lake.snapshots() ORDER BY 1")]
    if snapshot in ids:
        return
    near = sorted(sorted(ids, key=lambda other: abs(other - snapshot))[:2])
    raise LakeError(
        f"There is no snapshot {snapshot}" + (": maintenance has expired it." if 0 <= snapshot < ids[-1] else "."),
        found=f"{len(ids)} snapshots, from {ids[0]} to {ids[-1]}",
        fix=f"The nearest are {' and '.join(map(str, near))}; `ml-assets lake snapshots` lists them all.",
    )


def diff(
    lake: Lake, before: int, after: int, pipeline: str | None = None, name: str | None = None
) -> list[TableChange]:
    """What changed from one snapshot to another; either may be the older one.

    Only batches whose data files differ are compared; the catalog tells which.

    Args:
        lake: The lake.
        before: Snapshot that is compared from.
        after: Snapshot that is compared to.
        pipeline: Only this pipeline's tables.
        name: Only this table.

    Raises:
        LakeError: There is no such snapshot.
        UnknownPipeline: There is no such pipeline.
    """
    for snapshot in (before, after):
        check_snapshot(lake, snapshot)
    there = {snapshot: tables_at(lake, snapshot) for snapshot in (before, after)}
    known = sorted({one.partition(".")[0] for one in there[before] | there[after]})
    if pipeline is not None and pipeline not in known:
        raise UnknownPipeline(pipeline, known)
    touched, sides = _touched(lake, before, after), {"old": before, "new": after}
    changes = []
    for one in sorted(there[before] | there[after]):
        if (pipeline and one.partition(".")[0] != pipeline) or (name and one != name):
            continue
        old = _columns(lake, one, before) if one in there[before] else {}
        new = _columns(lake, one, after) if one in there[after] else {}
        if old and new:
            rows = {side: f"(SELECT * FROM {table(one)}{at(snapshot)})" for side, snapshot in sides.items()}
            key, batches = compare(lake, rows["old"], rows["new"], old, new, touched.get(one, []))
            change = TableChange(one, "changed", key, old, new, batches)
        else:
            change = _one_sided(lake, one, before if old else after, old, new)
        if change.state != "changed" or change.batches or old != new:
            changes.append(change)
    return changes


def tables_at(lake: Lake, snapshot: int) -> set[str]:
    """Names of the tables that there were at a snapshot."""
    rows = lake.fetch(
        """
        SELECT s.schema_name || '.' || t.table_name
        FROM __ducklake_metadata_lake.ducklake_table t
        JOIN __ducklake_metadata_lake.ducklake_schema s USING (schema_id)
        WHERE t.begin_snapshot <= $at AND coalesce(t.end_snapshot > $at, true)
            AND s.begin_snapshot <= $at AND coalesce(s.end_snapshot > $at, true)
        """,
        {"at": snapshot},
    )
    return {row[0] for row in rows}


def _columns(lake: Lake, name: str, snapshot: int) -> dict[str, str]:
    return lake.columns(f"(SELECT * FROM {table(name)}{at(snapshot)})")


def _touched(lake: Lake, before: int, after: int) -> dict[str, list[str | None]]:
    """Table -> batches (None: a table without) whose data files are not the same at both snapshots.

    A file that maintenance has merged holds rows of several snapshots, up to `partial_max`.
    """
    rows = lake.fetch(
        """
        WITH sides AS (SELECT unnest([$before, $after]) AS side),
        named AS (
            SELECT 'data' AS kind, table_id, data_file_id, data_file_id AS id, begin_snapshot, end_snapshot, partial_max
            FROM __ducklake_metadata_lake.ducklake_data_file
            UNION ALL
            SELECT 'delete', table_id, data_file_id, delete_file_id, begin_snapshot, end_snapshot, partial_max
            FROM __ducklake_metadata_lake.ducklake_delete_file
        ),
        files AS (
            SELECT side, table_id, data_file_id,
                concat_ws('-', kind, id, if(partial_max IS NULL, NULL, least(partial_max, side))) AS part
            FROM named, sides WHERE begin_snapshot <= side AND coalesce(end_snapshot > side, true)
        ),
        parts AS (
            SELECT files.table_id, v.partition_value AS batch,
                list_sort(list(part) FILTER (side = $before)) IS DISTINCT FROM
                list_sort(list(part) FILTER (side = $after)) AS differs
            FROM files LEFT JOIN __ducklake_metadata_lake.ducklake_file_partition_value v USING (data_file_id)
            GROUP BY ALL
        )
        SELECT DISTINCT s.schema_name || '.' || t.table_name, batch
        FROM parts JOIN __ducklake_metadata_lake.ducklake_table t USING (table_id)
        JOIN __ducklake_metadata_lake.ducklake_schema s USING (schema_id)
        WHERE differs ORDER BY ALL
        """,
        {"before": before, "after": after},
    )
    return {name: [batch for _, batch in group] for name, group in groupby(rows, lambda row: str(row[0]))}


def _one_sided(lake: Lake, name: str, snapshot: int, old: dict[str, str], new: dict[str, str]) -> TableChange:
    batch = "batch" if "batch" in (old or new) else "NULL"
    rows = lake.fetch(f"SELECT {batch}, count(*) FROM {table(name)}{at(snapshot)} GROUP BY ALL ORDER BY ALL")
    batches = [BatchChange(one, 0, count) if old else BatchChange(one, count, 0) for one, count in rows]
    return TableChange(name, "dropped" if old else "created", [], old, new, batches)
