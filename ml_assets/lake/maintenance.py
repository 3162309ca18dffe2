"""Maintenance of the lake: small files are merged, unneeded snapshots expire, files that nothing names are deleted.

A snapshot is needed while something pins it, while it is the newest, and for `keep_days` after the next one took its
place. Each step is a transaction of its own under the write lock, so writers
wait for one step only, and a process that is killed leaves nothing half done.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from ml_assets.errors import LakeBusy
from ml_assets.lake.copying import FILES_LOCK
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.sqlite_files import RECOVERED

log = logging.getLogger("ml_assets.lake")

SMALL_FILES = 10  # a table or batch with so many is merged; fewer would be rewritten every night for nothing
FILES_A_STEP = 4  # of up to 512 MB that one merge writes under the lock
SNAPSHOTS_A_STEP = 500
# Queries that run, and readers of the published catalog, may still read files that were replaced since.
GRACE = dt.timedelta(days=1)


@dataclass(frozen=True)
class MaintenanceResult:
    """What a run did, or with `dry_run` would do.

    Args:
        snapshots: Ids of the snapshots that expired.
        files_merged: Small files, and files with deleted rows, that were written together as fewer.
        files_removed: Files that were deleted: replaced or expired over a day ago, or left over by a killed writer.
            None while a backup runs.
        bytes_before: Bytes of all files of the lake.
        bytes_after: The same afterwards. A file is removed a day after it was replaced.
        seconds: How long it took.
    """

    snapshots: list[int]
    files_merged: int
    files_removed: int
    bytes_before: int
    bytes_after: int
    seconds: float


@dataclass(frozen=True)
class Needs:
    """What of the history is needed beyond its days.

    Args:
        pinned: Ids of snapshots that must stay; asked again under the lock.
        keep: Called with snapshots that are about to expire, to keep what must be known of them.
    """

    pinned: Callable[[], Collection[int]]
    keep: Callable[[list[int]], None]


def maintain(
    lake: Lake,
    schema: str,
    keep_days: int,
    needs: Needs,
    commit: Commit,
    dry_run: bool = False,
    grace: dt.timedelta = GRACE,
) -> MaintenanceResult:
    """Do the maintenance of a schema's tables.

    Args:
        lake: The lake.
        schema: Whose tables are merged and whose snapshots expire; files are removed in the whole lake.
        keep_days: Days for which everything stays readable as it was.
        needs: What is needed longer.
        commit: Who does it.
        dry_run: Only say what would be done.
        grace: How long a file stays after it was replaced.
    """
    started, before = time.monotonic(), _bytes(lake)
    if dry_run:
        expired = expirable(lake, schema, keep_days, needs.pinned())
        merged = sum(files for _, files in _fragmented(lake, schema))
        removed = len(_remove_replaced(lake, grace, dry_run) + _remove_orphans(lake, dry_run))
    else:
        _make_indexes(lake, commit)
        merged = sum(_merge(lake, name, commit) for name, _ in _fragmented(lake, schema))
        expired = _expire(lake, schema, keep_days, needs, commit)
        lake.publish()  # readers without write permission must not be left with the files that go now
        removed = _remove(lake, grace, commit)
    return MaintenanceResult(expired, merged, removed, before, _bytes(lake), time.monotonic() - started)


def _make_indexes(lake: Lake, commit: Commit) -> None:
    """Those of a lake that an earlier version has made."""

    def work() -> list[tuple[Any, ...]]:
        lake.catalog.make_indexes(lake.con)
        return []

    lake.maintain(work, commit)


def expirable(lake: Lake, schema: str, keep_days: int, pinned: Collection[int]) -> list[int]:
    """Snapshots of a schema that nothing needs, oldest first.

    A snapshot counts as old from when the next one took its place: until then it was what the lake held. So the state
    of every moment within `keep_days` stays, and so does a training set that a running training has just pinned.
    """
    rows = lake.con.execute(
        """
        SELECT snapshot_id FROM (
            SELECT snapshot_id, commit_message, lead(snapshot_time) OVER (ORDER BY snapshot_id) AS replaced_at
            FROM lake.snapshots()
        )
        WHERE starts_with(commit_message, $prefix) AND replaced_at < $limit AND NOT list_contains($pinned, snapshot_id)
        ORDER BY snapshot_id
        """,
        {
            "prefix": f"{schema}/",
            "limit": dt.datetime.now(dt.UTC) - dt.timedelta(days=keep_days),
            "pinned": list(pinned),
        },
    ).fetchall()
    return [int(row[0]) for row in rows]


def _expire(lake: Lake, schema: str, keep_days: int, needs: Needs, commit: Commit) -> list[int]:
    expired: list[int] = []
    while old := expirable(lake, schema, keep_days, needs.pinned()):
        steps = (old[first : first + SNAPSHOTS_A_STEP] for first in range(0, len(old), SNAPSHOTS_A_STEP))
        gone = [one for chosen in steps for one in _expire_these(lake, chosen, needs, commit)]
        if not gone:
            break
        expired += gone
    return sorted(expired)


def _expire_these(lake: Lake, chosen: list[int], needs: Needs, commit: Commit) -> list[int]:
    """Expire some snapshots in one step; returns those that are gone by it."""
    needs.keep(chosen)

    def work() -> list[tuple[Any, ...]]:
        # Asked under the lock: a training set may have been pinned since, or another run have been faster.
        ids = sorted(_there(lake, chosen).difference(needs.pinned()))
        # A list of numbers, never a moment: that would take what models need along.
        return lake.con.execute(f"CALL ducklake_expire_snapshots('lake', versions => {ids})").fetchall() if ids else []

    return [int(row[0]) for row in lake.maintain(work, commit)]


def _there(lake: Lake, snapshots: list[int]) -> set[int]:
    """Which of some snapshots the lake still has."""
    sql = "SELECT snapshot_id FROM __ducklake_metadata_lake.ducklake_snapshot WHERE snapshot_id BETWEEN ? AND ?"
    found = lake.con.execute(sql, [snapshots[0], snapshots[-1]]).fetchall()
    return {int(row[0]) for row in found}.intersection(snapshots)


def _fragmented(lake: Lake, pipeline: str) -> list[tuple[str, int]]:
    """Tables with many small files, or with files of deleted rows, and how many of these they have."""
    rows = lake.con.execute(
        """
        WITH files AS (
            SELECT f.table_id, v.partition_value AS batch, count(*) AS files, count(d.delete_file_id) AS deletes
            FROM __ducklake_metadata_lake.ducklake_data_file f
            LEFT JOIN __ducklake_metadata_lake.ducklake_file_partition_value v USING (data_file_id)
            LEFT JOIN __ducklake_metadata_lake.ducklake_delete_file d
                ON d.data_file_id = f.data_file_id AND d.end_snapshot IS NULL
            WHERE f.end_snapshot IS NULL GROUP BY ALL
        )
        SELECT t.table_name, sum(CASE WHEN files >= $small THEN files ELSE deletes END)
        FROM files JOIN __ducklake_metadata_lake.ducklake_table t USING (table_id)
        JOIN __ducklake_metadata_lake.ducklake_schema s USING (schema_id)
        WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL AND s.schema_name = $pipeline
            AND (files >= $small OR deletes > 0)
        GROUP BY ALL ORDER BY ALL
        """,
        {"pipeline": pipeline, "small": SMALL_FILES},
    ).fetchall()
    return [(str(table_name), int(files)) for table_name, files in rows]


def _merge(lake: Lake, table_name: str, commit: Commit) -> int:
    """Merge a table's files, some at a time; returns how many became fewer."""
    schema = commit.asset.partition("/")[0]

    def rewrite() -> list[tuple[Any, ...]]:
        return lake.con.execute(
            "CALL ducklake_rewrite_data_files('lake', ?, schema => ?, delete_threshold => 0.0)", [table_name, schema]
        ).fetchall()

    def merge() -> list[tuple[Any, ...]]:
        return lake.con.execute(
            f"CALL ducklake_merge_adjacent_files('lake', ?, schema => ?, max_compacted_files => {FILES_A_STEP})",
            [table_name, schema],
        ).fetchall()

    merged = sum(int(row[2]) for row in lake.maintain(rewrite, commit))
    while made := lake.maintain(merge, commit):
        merged += sum(int(row[2]) for row in made)
    return merged


def _remove(lake: Lake, grace: dt.timedelta, commit: Commit) -> int:
    """Delete files that nothing needs; none while a backup copies them, which may take longer than the grace."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lake.catalog.lock(FILES_LOCK, 0, "removing files of the lake"))
        except LakeBusy as error:
            log.info("No file is removed this time: %s", error)
            return 0
        removed = len(lake.maintain(lambda: _remove_replaced(lake, grace), commit))
        return removed + len(lake.maintain(lambda: _remove_orphans(lake), commit))


def _remove_replaced(lake: Lake, grace: dt.timedelta, dry_run: bool = False) -> list[tuple[Any, ...]]:
    """Delete the files that were replaced, or whose snapshots expired, before the grace."""
    values = [dry_run, dt.datetime.now(dt.UTC) - grace]
    return lake.con.execute("CALL ducklake_cleanup_old_files('lake', dry_run => ?, older_than => ?)", values).fetchall()


def _remove_orphans(lake: Lake, dry_run: bool = False) -> list[tuple[Any, ...]]:
    """Delete the files that a killed writer left. Always a day old: those of an open transaction look the same.

    Files that are older than this catalog, or than its recovery from a copy, may be all that is left of another one:
    they stay.
    """
    since, data = _since(lake), lake.catalog.data
    rows = lake.con.execute(
        "CALL ducklake_delete_orphaned_files('lake', dry_run => true, older_than => ?)",
        [dt.datetime.now(dt.UTC) - dt.timedelta(days=1)],
    ).fetchall()
    removed = []
    for row in rows:
        name = str(row[0]).removeprefix(data.url).lstrip("/")
        file = data.file(name)
        if file is not None and dt.datetime.fromtimestamp(file.written_at, dt.UTC) >= since:
            if not dry_run:
                data.remove(name)
            removed.append(row)
    return removed


def _since(lake: Lake) -> dt.datetime:
    """When the lake was made, or its catalog was last recovered."""
    rows = lake.con.execute(
        """SELECT min(snapshot_time) FROM lake.snapshots()
        UNION ALL SELECT max(replace(value, ' UTC', '+00'))::TIMESTAMPTZ
        FROM __ducklake_metadata_lake.ducklake_metadata WHERE key = ?""",
        [RECOVERED],
    ).fetchall()
    moments: list[dt.datetime] = [moment.astimezone(dt.UTC) for (moment,) in rows if moment is not None]
    return max(moments)


def _bytes(lake: Lake) -> int:
    return sum(file.size for file in lake.catalog.data.files())
