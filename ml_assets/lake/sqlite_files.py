"""SQLite files of a catalog: their names, and reading one number from one without attaching the lake.

Only DuckDB's SQLite opens the catalog in this process. When a second library (Python's) closes the file, or any code
closes a descriptor of it, the kernel drops the locks of the first one: https://sqlite.org/howtocorrupt.html, 2.2.1.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb

from ml_assets.lake.database import sqlite_file
from ml_assets.lake.faults import lake_error

CATALOG = "catalog.sqlite"
PUBLIC_CATALOG = "public.sqlite"
# Keys of ours in the catalog's table ducklake_metadata; each holds the moment.
PUBLISHED, RECOVERED = "ml_assets_published_at", "ml_assets_recovered_at"


def utc_now() -> str:
    """This moment, as those keys hold it."""
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def remove_database(file: Path) -> None:
    """Remove a SQLite file with its WAL and index."""
    for name in database_files(file):
        name.unlink(missing_ok=True)


def database_files(file: Path) -> list[Path]:
    """A SQLite file, its WAL and its index; not all of them need exist."""
    return [file.with_name(file.name + suffix) for suffix in ("", "-wal", "-shm")]


def largest_snapshot(catalog: Path) -> int | None:
    """Id of the newest snapshot in a catalog or a copy of one.

    Raises:
        LakeError: It cannot be read.
    """
    return number(catalog, "SELECT max(snapshot_id) FROM ducklake_snapshot")


def number(catalog: Path, sql: str, value: str | None = None) -> int | None:
    """The one number that SQLite's SQL gives on a catalog; None where it gives none.

    Raises:
        LakeError: As in `rows`.
    """
    found = rows(catalog, sql, value)
    return int(found[0][0]) if found and found[0][0] is not None else None


def rows(catalog: Path, sql: str, value: str | None = None) -> list[tuple[Any, ...]]:
    """The rows that SQLite's SQL gives on a catalog; `value` is its parameter ?1.

    Raises:
        LakeError: The catalog cannot be read.
    """
    call = "FROM sqlite_query('file', ?)" if value is None else "FROM sqlite_query('file', ?, params => ?)"
    try:
        with sqlite_file(catalog) as con:
            return con.execute(call, [sql] if value is None else [sql, {"value": value}]).fetchall()
    except duckdb.Error as error:
        raise lake_error(error, "The lake's catalog cannot be read.", catalog.parent, file=catalog) from error
