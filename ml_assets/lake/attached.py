"""Databases that keep a lake attached while they wait for the next connection to it.

After each ATTACH, DuckLake reads what tables and columns there are before the first query: ten times the query's own
cost, and a sensor opens the lake at each tick. Only catalogs of which an attached one holds no file open are kept.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ml_assets.lake.database import IDLE_MEMORY, limit_to, release
from ml_assets.lake.sql import literal

# DuckLake keeps what it knew of each snapshot until it is detached.
MAX_KEPT, MAX_SNAPSHOTS = 2, 200
SNAPSHOTS = "__ducklake_metadata_lake.ducklake_snapshot"
_kept: list[Attached] = []
_guard = threading.Lock()


@dataclass(frozen=True)
class Attached:
    """A database with a lake attached.

    Args:
        database: Nobody else uses it.
        key: What was attached, and how.
        first: Newest snapshot when it was let go for the first time.
        last: Number and time of the snapshot that was newest when it was let go now.
    """

    database: duckdb.DuckDBPyConnection
    key: Hashable
    first: int
    last: tuple[int, object]


def take(key: Hashable, memory_limit: str | None, spill: Path) -> Attached | None:
    """One with this lake attached, for the caller alone, whose catalog goes on from what it was.

    A backup that has taken the catalog's place may count the same numbers for other tables.
    """
    with _guard:
        found = next((one for one in reversed(_kept) if one.key == key), None)
        if found is None:
            return None
        _kept.remove(found)
    with contextlib.suppress(duckdb.Error):
        limit_to(found.database, memory_limit, spill)
        sql = f"SELECT count(*) FILTER (snapshot_id = ? AND snapshot_time = ?), max(snapshot_id) FROM {SNAPSHOTS}"
        same, newest = found.database.execute(sql, found.last).fetchall()[0]
        if same and newest - found.first <= MAX_SNAPSHOTS:
            return found
    let_go(found.database)
    return None


def keep(database: duckdb.DuckDBPyConnection, key: Hashable, earlier: Attached | None) -> None:
    """Let the next one who asks have it; the one that waited longest is detached where there are too many."""
    sql = f"SELECT snapshot_id, snapshot_time FROM {SNAPSHOTS} ORDER BY snapshot_id DESC LIMIT 1"
    last = database.execute(sql).fetchall()[0]
    database.execute(f"SET memory_limit = {literal(IDLE_MEMORY)}")
    with _guard:
        _kept.append(Attached(database, key, earlier.first if earlier else last[0], last))
        surplus = _kept.pop(0) if len(_kept) > MAX_KEPT else None
    if surplus is not None:
        let_go(surplus.database)


def let_go(database: duckdb.DuckDBPyConnection) -> None:
    """Detach the lake; the database waits for any other one."""
    try:
        database.execute("DETACH lake")
        release(database)
    except duckdb.Error:
        database.close()  # somebody still reads through another cursor
