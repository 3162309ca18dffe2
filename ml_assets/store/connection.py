"""Connections to the lake: extensions, the catalog's creation, attaching it, and its published copy.

SQLite's WAL mode lets readers and a writer go on side by side. It is set before the first byte: in a rollback journal
one failed commit locks the catalog for every process until the failing one ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sqlite3
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import duckdb

from ml_assets.errors import LakeError
from ml_assets.store.locks import exclusive
from ml_assets.store.sql import literal

ENV_MEMORY = "ML_ASSETS_MEMORY_LIMIT"
CATALOG = "catalog.sqlite"
PUBLIC_CATALOG = "public.sqlite"
EXTENSIONS = ("ducklake", "sqlite_scanner")
# Databases without a lake that wait for the next connection, and what each may hold meanwhile. A sensor opens the lake
# at each look; DuckDB checks the signature of an extension's whole file each time that it is loaded.
_idle: list[duckdb.DuckDBPyConnection] = []
MAX_IDLE, IDLE_MEMORY = 2, "32MiB"


@dataclass(frozen=True)
class Connection:
    """A connection to the lake, and the database in memory that it alone uses.

    Args:
        con: The connection; the lake is attached as `lake`.
        database: Where the extensions are loaded and the lake is attached.
    """

    con: duckdb.DuckDBPyConnection
    database: duckdb.DuckDBPyConnection

    def close(self) -> None:
        """Close it; its database waits for the next one. Temporary tables and variables end with the connection."""
        self.con.close()
        try:
            self.database.execute("DETACH lake")
            self.database.execute(f"SET memory_limit = {literal(IDLE_MEMORY)}")  # gives back what it holds
        except duckdb.Error:
            self.database.close()  # somebody still reads through another cursor
            return
        if len(_idle) < MAX_IDLE:
            _idle.append(self.database)
        else:
            self.database.close()


def connect(folder: Path, read_only: bool, memory_limit: str | None, lock_timeout_s: float) -> Connection:
    """A DuckDB connection with the lake attached as `lake`.

    Args:
        folder: Folder of the catalog and the Parquet files.
        read_only: Refuse writes; where this user may not write the folder, the published catalog is read.
        memory_limit: Such as `2GiB`; beyond it DuckDB spills to disk.
        lock_timeout_s: Seconds to wait for the lock, where the catalog must be made.

    Raises:
        LakeError: There is no lake, its catalog is broken, or an extension cannot be loaded.
    """
    catalog = folder / CATALOG
    if read_only and not catalog.exists():
        raise LakeError(
            "There is no lake yet.", where={"folder": folder}, fix="Materialize an asset first, see README."
        )
    if not read_only:
        create_catalog(folder, lock_timeout_s)
    database = _database(memory_limit, folder.parent / "tmp")
    con = database.cursor()
    con.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
    if read_only and not os.access(folder, os.W_OK):
        catalog = folder / PUBLIC_CATALOG  # a WAL catalog cannot be read without write permission
    try:
        attach(con, catalog, read_only)
    except duckdb.Error as error:
        database.close()
        raise LakeError(
            "The lake's catalog cannot be opened.",
            found=str(error).splitlines()[0],
            where={"file": catalog},
            fix="Put the catalog back from a backup, or move the folder away to begin a new lake.",
        ) from error
    return Connection(con, database)


def _database(memory_limit: str | None, spill: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory with the extensions, one that waits where there is one: loading them takes 0.15 s."""
    while _idle:
        database = _idle.pop()
        try:
            _set_memory(database, memory_limit, spill)
        except duckdb.Error:  # it has spilled into another folder, which cannot be changed any more
            database.close()
        else:
            return database
    database = duckdb.connect()
    _set_memory(database, memory_limit, spill)
    for extension in EXTENSIONS:
        load_extension(database, extension)
    return database


def _set_memory(database: duckdb.DuckDBPyConnection, limit: str | None, spill: Path) -> None:
    database.execute(f"SET memory_limit = {literal(limit or _most_memory())}")
    database.execute(f"SET temp_directory = {literal(str(spill))}")


@cache
def _most_memory() -> str:
    """DuckDB's own limit; RESET would show it again, but keep the earlier one."""
    return str(_scratch_database().execute("SELECT current_setting('memory_limit')").fetchall()[0][0])


def attach(con: duckdb.DuckDBPyConnection, catalog: Path, read_only: bool = False) -> None:
    """Attach a catalog as `lake`; its Parquet files lie beside it, wherever the folder has been moved to."""
    con.execute(
        f"ATTACH {literal(f'ducklake:sqlite:{catalog}')} AS lake ({'READ_ONLY, ' if read_only else ''}"
        f"DATA_PATH {literal(str(catalog.parent / 'data'))}, OVERRIDE_DATA_PATH true, META_BUSY_TIMEOUT 30000)"
    )


def create_catalog(folder: Path, lock_timeout_s: float) -> None:
    """Make the catalog, unless there is one; it appears whole or not at all."""
    catalog = folder / CATALOG
    if catalog.exists():
        return
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with catalog_lock(folder, lock_timeout_s):
        if catalog.exists():
            return
        new = catalog.with_suffix(".new")
        new.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(new)) as file:
            file.execute("PRAGMA journal_mode = WAL")
        database = _database(None, folder.parent / "tmp")
        attach(database, new)
        # Rows inlined into the catalog would reserve the column name row_id.
        database.execute("CALL lake.set_option('data_inlining_row_limit', 0)")
        Connection(database.cursor(), database).close()
        with contextlib.closing(sqlite3.connect(new)) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        new.rename(catalog)


def publish_catalog(folder: Path, lock_timeout_s: float) -> None:
    """Copy the catalog for readers who may not write the folder."""
    new = folder / (PUBLIC_CATALOG + ".new")
    with catalog_lock(folder, lock_timeout_s):
        new.unlink(missing_ok=True)
        with (
            contextlib.closing(sqlite3.connect(folder / CATALOG)) as source,
            contextlib.closing(sqlite3.connect(new)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        new.replace(folder / PUBLIC_CATALOG)


def newest_snapshot(folder: Path, pipeline: str) -> int | None:
    """Id of the newest snapshot that a pipeline has written, read by SQLite alone in a millisecond.

    None where there is no lake, or nothing of the pipeline in it. Other pipelines' writes do not count.
    """
    file = folder / (CATALOG if os.access(folder, os.W_OK) else PUBLIC_CATALOG)
    if not file.exists():
        return None
    with contextlib.closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as catalog:
        rows = catalog.execute(
            """SELECT snapshot_id FROM ducklake_snapshot_changes WHERE substr(commit_message, 1, ?) = ?
            ORDER BY snapshot_id DESC LIMIT 1""",
            [len(pipeline) + 1, f"{pipeline}/"],
        ).fetchall()
    return int(rows[0][0]) if rows else None


def catalog_lock(folder: Path, timeout_s: float) -> contextlib.AbstractContextManager[None]:
    """The write lock of the whole lake."""
    return exclusive(folder / (CATALOG + ".lock"), timeout_s, "writing to the lake")


def scratch() -> duckdb.DuckDBPyConnection:
    """A cursor on one empty database in memory, for parsing and binding SQL without data; opening one costs 8 ms."""
    return _scratch_database().cursor()


@cache
def _scratch_database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def load_extension(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load a DuckDB extension: from its wheel, else where DuckDB keeps its own, else from DuckDB's server.

    DuckDB checks the signature in each case; unsigned extensions are never allowed.
    """
    wheel = importlib.util.find_spec(f"duckdb_extension_{name}")
    files = sorted(Path(wheel.origin).parent.rglob("*.duckdb_extension")) if wheel and wheel.origin else []
    try:
        con.execute(f"LOAD {literal(str(files[0])) if files else name}")
    except duckdb.Error:
        try:
            con.execute(f"INSTALL {name}; LOAD {name}")
        except duckdb.Error as error:
            raise LakeError(
                f"DuckDB's extension {name} cannot be loaded.",
                found=str(error).splitlines()[0],
                fix=f"pip install duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}",
            ) from error
