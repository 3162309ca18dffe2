"""DuckDB databases in memory: with the lake's extensions for connections to it, and empty ones for SQL without data."""

from __future__ import annotations

import contextlib
import importlib.util
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import duckdb

from ml_assets.errors import LakeError
from ml_assets.lake.sql import literal

EXTENSIONS = ("ducklake", "sqlite_scanner")
# Databases that wait for the next connection, and what each may hold meanwhile. A sensor opens the lake at each tick;
# DuckDB checks the signature of an extension's whole file each time that it is loaded.
MAX_IDLE, IDLE_MEMORY = 2, "32MiB"
_idle: list[duckdb.DuckDBPyConnection] = []
# Dagster evaluates sensors in several threads.
_idle_guard, _sqlite_guard = threading.Lock(), threading.Lock()


def in_memory(**config: str) -> duckdb.DuckDBPyConnection:
    """An empty database in memory. By itself DuckDB would read the caller's Python variables as tables."""
    return duckdb.connect(config={"python_enable_replacements": "false", **config})


def borrow() -> tuple[duckdb.DuckDBPyConnection, bool]:
    """A database with the extensions, for the caller alone, and whether it is new: opening one takes 0.15 s."""
    with _idle_guard:
        if _idle:
            return _idle.pop(), False
    # For the first few rows of an order, DuckDB would read their keys first and then the table again. Of small tables,
    # as most of the lake's are, that takes twice the time.
    database = in_memory(disabled_optimizers="late_materialization")
    for extension in EXTENSIONS:
        load_extension(database, extension)
    return database, True


def release(database: duckdb.DuckDBPyConnection) -> None:
    """Keep a database for the next one who borrows; nothing may be attached to it any more."""
    database.execute(f"SET memory_limit = {literal(IDLE_MEMORY)}")  # gives back what it holds
    with _idle_guard:
        if len(_idle) < MAX_IDLE:
            _idle.append(database)
            return
    database.close()


def borrow_for(memory_limit: str | None, spill: Path) -> duckdb.DuckDBPyConnection:
    """A borrowed database with this memory limit, which spills into this folder.

    Raises:
        duckdb.OutOfMemoryException: The limit is less than an empty database takes.
    """
    while True:
        database, is_new = borrow()
        try:
            limit_to(database, memory_limit, spill)
        except duckdb.Error as error:
            database.close()
            # One that has served before may hold more than the limit, or spill where it cannot be told otherwise.
            if is_new or not isinstance(error, duckdb.NotImplementedException | duckdb.OutOfMemoryException):
                raise
        else:
            return database


def limit_to(database: duckdb.DuckDBPyConnection, memory_limit: str | None, spill: Path) -> None:
    """Set the memory that a database may use, and the folder into which it spills beyond."""
    database.execute(f"SET memory_limit = {literal(memory_limit or _most_memory())}")
    database.execute(f"SET temp_directory = {literal(str(spill))}")


@contextlib.contextmanager
def sqlite_file(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that has a SQLite file attached read-only as `file`; takes a millisecond, one thread at a time."""
    with _sqlite_guard:
        con = _sqlite_database().cursor()
        try:
            con.execute("DETACH DATABASE IF EXISTS file")  # of one that failed
            con.execute(f"ATTACH {literal(str(file))} AS file (TYPE sqlite, READ_ONLY)")
            yield con
            con.execute("DETACH file")
        finally:
            con.close()


@cache
def _sqlite_database() -> duckdb.DuckDBPyConnection:
    database = in_memory(threads="1", memory_limit=IDLE_MEMORY)
    load_extension(database, "sqlite_scanner")
    return database


def scratch() -> duckdb.DuckDBPyConnection:
    """A cursor on one empty database in memory, for parsing and binding SQL without data; opening one costs 8 ms."""
    return _scratch_database().cursor()


@cache
def _scratch_database() -> duckdb.DuckDBPyConnection:
    return in_memory()


@cache
def _most_memory() -> str:
    """DuckDB's own limit; RESET would show it again, but keep the earlier one."""
    return str(_scratch_database().execute("SELECT current_setting('memory_limit')").fetchall()[0][0])


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
