"""Rows to features on SQLite in this process: one prepared statement, executed for each row.

A small request costs microseconds where DuckDB takes a millisecond. A release names this engine only where a gate has
found every feature identical (`parity.py`).
"""

from __future__ import annotations

import glob
import sqlite3
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from ml_assets.errors import FeatureError, ServingError
from ml_assets.lake.database import in_memory
from ml_assets.lake.sql import identifier, literal
from ml_assets.ml.bundle import Schema
from ml_assets.ml.release import SQLITE_SELECT, ServingFacts, source_line, table_file
from ml_assets.ml.sql_functions import callables, stored
from ml_assets.server.features import Columns
from ml_assets.server.requests import RowRefused

MAX_ROWS = 500_000  # of all lookups and references together: they are in memory, once for each engine
SECONDS = 2.0  # of CPU that the rows of one call may take together; the gate allows a row 0.001
STEPS = 10_000  # of SQLite's machine between two looks at the clock
HELD = ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "FLOAT", "DOUBLE")
TIMES = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}


class NotHeld(Exception):
    """SQLite cannot hold a table of the release, or not well; the text says why."""


class SqliteFeatures:
    """Computes features on SQLite; for one thread at a time.

    Args:
        folder: The release.
        facts: What it says about itself.
        schema: The bundle's schema.
        tables: Folder of lookups and references that take the place of the release's own.

    Raises:
        NotHeld: A table has a value that SQLite has not, or too many rows.
        ServingError: The SELECT does not fit the tables.
    """

    row_wise, inline = True, True

    def __init__(self, folder: Path, facts: ServingFacts, schema: Schema, tables: Path | None = None) -> None:
        self._schema, self._version = schema, facts.version
        self._times = [word in ("date", "timestamp") for word in schema.columns.values()]
        self._select = _select(folder, facts)
        self._deadline, self._why = 0.0, ""
        self.con = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        try:
            for (kind, name), rows in _tables(folder, tables, facts):
                self._create(kind, name, rows, facts.indexes.get(name, []))
            self._functions()
            self._lock()
            self.con.execute(f"EXPLAIN {self._select}", [None] * len(schema.columns)).fetchall()
        except (sqlite3.Error, sqlite3.Warning, duckdb.Error) as error:
            self.con.close()
            raise ServingError("The release's features cannot be computed on SQLite.", found=str(error)) from error
        except NotHeld:
            self.con.close()
            raise

    def of(self, rows: Columns, count: int) -> dict[str, list[Any]]:
        """Features of a request's rows, in their order.

        Raises:
            RowRefused: The features of a row cannot be computed from its values.
            FeatureError: The features are not exactly one row for each row of the request.
        """
        columns = [
            [None if value is None else stored(value) for value in rows[name]] if is_time else rows[name]
            for name, is_time in zip(self._schema.columns, self._times, strict=True)
        ]
        execute, select = self.con.execute, self._select
        made = []
        self._deadline = time.thread_time() + SECONDS
        for number, row in enumerate(zip(*columns, strict=True) if columns else [()] * count):
            try:
                found = execute(select, row).fetchall()
            except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
                raise RowRefused(self._reason(error), number) from error
            if len(found) != 1:
                raise FeatureError(
                    "The features are not exactly one row for each row of the request.",
                    found=f"{len(found)} for row {number}",
                    where={"version": self._version},
                )
            made.append(found[0])
        if not made:
            return {name: [] for name in self._schema.features}
        return dict(zip(self._schema.features, map(list, zip(*made, strict=True)), strict=True))

    def close(self) -> None:
        """Free the tables."""
        self.con.close()

    def _reason(self, error: Exception) -> str:
        why, self._why = self._why, ""
        if isinstance(error, sqlite3.OperationalError) and "interrupted" in str(error):
            return f"The features take longer than {SECONDS:g} s"
        return f"The features cannot be computed: {why or error}"

    def _create(self, kind: str, name: str, rows: duckdb.DuckDBPyConnection, indexes: Sequence[Sequence[str]]) -> None:
        names = [column[0] for column in rows.description or []]
        # Columns without a type keep every value as it is.
        self.con.execute(f"CREATE TABLE {identifier(name)} ({', '.join(map(identifier, names))})")
        marks = ", ".join("?" * len(names))
        try:
            values = (tuple(map(stored, row)) for row in rows.fetchall())
            self.con.executemany(f"INSERT INTO {identifier(name)} VALUES ({marks})", values)
        except (ValueError, OverflowError) as error:
            raise NotHeld(f"the {kind} {name}: {error}") from error
        for number, columns in enumerate(indexes):
            listed = ", ".join(map(identifier, columns))
            self.con.execute(f"CREATE INDEX {identifier(f'{name} {number}')} ON {identifier(name)} ({listed})")
        self.con.execute("ANALYZE")

    def _functions(self) -> None:
        for key, (count, function) in callables().items():
            name = key.rpartition("/")[0]
            self.con.create_function(name, count, partial(self._call, function), deterministic=True)

    def _call(self, function: Any, *values: Any) -> Any:
        try:
            return function(*values)
        except Exception as error:
            self._why = str(error)  # SQLite says only that something was raised
            raise

    def _lock(self) -> None:
        """From here on the connection reads its tables, calls our functions, and does nothing else."""
        known = {name.rpartition("/")[0] for name in callables()} | {"coalesce", "nullif"}

        def authorize(action: int, _: str | None, name: str | None, *_where: str | None) -> int:
            is_ours = action == sqlite3.SQLITE_FUNCTION and str(name).lower() in known
            return sqlite3.SQLITE_OK if action in ALLOWED or is_ours else sqlite3.SQLITE_DENY

        self.con.execute("PRAGMA trusted_schema = OFF")
        self.con.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self.con.set_progress_handler(lambda: time.thread_time() > self._deadline, STEPS)
        self._deadline = time.thread_time() + SECONDS
        self.con.set_authorizer(authorize)


def _select(folder: Path, facts: ServingFacts) -> str:
    """The SELECT, translated from the one that the bundle has."""
    file = folder / "bundle" / str(facts.sql)
    line, _, text = (folder / SQLITE_SELECT).read_text(encoding="utf-8").partition("\n")
    if line != source_line(file.read_text(encoding="utf-8", errors="replace")):
        raise ServingError(f"{SQLITE_SELECT} is not translated from the features SELECT.", where={"file": file})
    return text


def _tables(
    folder: Path, tables: Path | None, facts: ServingFacts
) -> Iterator[tuple[tuple[str, str], duckdb.DuckDBPyConnection]]:
    """Lookups and references, each as (kind, name) and its rows; without the columns that SQLite cannot hold."""
    total = 0
    with in_memory() as con:
        con.execute("SET threads = 1; SET TimeZone = 'UTC'")
        for kind, names in (("lookup", list(facts.lookups)), ("reference", facts.references)):
            for name in names:
                source = f"read_parquet({literal(glob.escape(str(table_file(folder, tables, f'{kind}s', name))))})"
                ((count,),) = con.execute(f"SELECT count(*) FROM {source}").fetchall()
                total += count
                if total > MAX_ROWS:
                    raise NotHeld(f"lookups and references have more than {MAX_ROWS:,} rows")
                types = con.execute(f"DESCRIBE FROM {source}").fetchall()
                columns = [_column(column, kind_of) for column, kind_of, *_ in types]
                yield (kind, name), con.execute(f"SELECT {', '.join(filter(None, columns))} FROM {source}")


def _column(name: str, kind: str) -> str:
    if kind in TIMES:
        return f"CAST({identifier(name)} AS TIMESTAMP) AS {identifier(name)}"
    return identifier(name) if kind in (*HELD, "VARCHAR") else ""
