"""Rows to features, by the release's own SELECT or function over the same views that batches have.

Joins give rows in another order: each row carries a number, and what comes back is put in that order and must be
exactly one row for each.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import importlib
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from ml_assets.errors import FeatureError, ServingError
from ml_assets.lake.database import in_memory
from ml_assets.lake.faults import named
from ml_assets.lake.sql import identifier, identifiers, literal
from ml_assets.ml.bundle import Schema
from ml_assets.ml.release import SOURCES, ServingFacts, table_file
from ml_assets.server.one_row import OneRow
from ml_assets.server.requests import RowRefused
from ml_assets.server.stored_casts import with_stored_casts

Columns = Mapping[str, Sequence[Any]]
LOAD, REQUEST_MIB = "4GiB", 512  # memory that lookups and references may take, and that a request may take beside them
SESSION = "SET python_enable_replacements = false; SET TimeZone = 'UTC'; SET enable_progress_bar = false"
SETTINGS = f"""
    SET threads = 1; SET memory_limit = {literal(LOAD)}; SET temp_directory = '';
    SET autoinstall_known_extensions = false; SET autoload_known_extensions = false; {SESSION}
"""


# What no values of a client bring about.
BROKEN = (duckdb.InternalException, duckdb.FatalException, duckdb.IOException, duckdb.ConnectionException)


class ValuesRefused(Exception):
    """DuckDB or pyarrow cannot compute with the values of some rows."""


class RequestRows:
    """The rows of the current request, as DuckDB reads them; filled anew for each."""

    def __init__(self, schema: Schema) -> None:
        import pyarrow as pa

        kinds = {
            "string": pa.string(),
            "integer": pa.int64(),
            "number": pa.float64(),
            "boolean": pa.bool_(),
            "date": pa.date32(),
            "timestamp": pa.timestamp("us"),
        }
        columns = [(name, kinds[word]) for name, word in schema.columns.items()]
        self._schema = pa.schema([("row_id", pa.int64()), *columns])
        self._table: Any = self._schema.empty_table()

    def fill(self, rows: Columns, count: int) -> None:
        """Take the rows of a request."""
        import pyarrow as pa

        self._table = pa.table({"row_id": range(1, count + 1), **rows}, schema=self._schema)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


class Features:
    """Computes features; for one thread.

    Args:
        folder: The release.
        facts: What it says about itself.
        schema: The bundle's schema.
        tables: Folder of the lookups and references that take the place of the release's own.
        beside: An engine of the same release whose tables this one reads, for another thread.

    Raises:
        ServingError: The SELECT or the function does not fit the release's tables.
    """

    inline = False  # do a few rows cost so little that they are computed where they arrive?

    def __init__(
        self,
        folder: Path,
        facts: ServingFacts,
        schema: Schema,
        tables: Path | None = None,
        beside: Features | None = None,
    ) -> None:
        self._schema, self._facts = schema, facts
        self.row_wise = facts.row_wise  # features of a row depend on that row alone: requests are computed together
        self._source = RequestRows(schema)
        self.con = in_memory() if beside is None else _taken(beside)
        self.spare: duckdb.DuckDBPyConnection | None = None  # the connection of an engine beside this one
        try:
            if beside is None:
                self.con.execute(SETTINGS)
                self._load(folder, tables)
            self._sql: str = self._text(folder) if beside is None else beside._sql
            if beside is None:
                self.spare = self.con.cursor()
                self.spare.execute(SESSION)
                self._lock()
            self._one_row = self._for_one_row() if self._sql else None
            self._view()
            self._compute = self._select(self._sql) if self._sql else self._function(folder)
        except ServingError:
            raise
        except Exception as error:  # of DuckDB, and of whatever the module of a features function does
            raise ServingError("The release's features cannot be computed.", found=named(error)) from error

    def close(self) -> None:
        """Free what it holds; of two engines over the same tables, each is closed."""
        self.con.close()
        if self.spare is not None:
            self.spare.close()

    def _load(self, folder: Path, tables: Path | None) -> None:
        """Lookups and references as tables: the release's own where there are no others."""
        for kind, names in (("lookups", self._facts.lookups), ("references", self._facts.references)):
            for name in names:
                source = literal(glob.escape(str(table_file(folder, tables, kind, name))))
                self.con.execute(f"CREATE TABLE {identifier(name)} AS FROM read_parquet({source})")

    def _view(self) -> None:
        """The view over the current request, of this connection alone."""
        self.con.execute(f"SET VARIABLE batch = {literal(self._facts.batch)}")
        self.con.register("request_rows", self._source)
        self.con.execute("CREATE TEMP VIEW batch AS SELECT getvariable('batch')::VARCHAR AS batch, * FROM request_rows")

    def _lock(self) -> None:
        """From here on, no SQL reaches a file or the network, takes much memory or changes that: texts of the release
        are next.
        """
        loaded = self.con.execute("SELECT sum(memory_usage_bytes) FROM duckdb_memory()").fetchall()[0][0]
        limit = int(loaded) // 2**20 + REQUEST_MIB
        self.con.execute(f"SET memory_limit = '{limit}MiB'")
        self.con.execute("SET enable_external_access = false; SET lock_configuration = true")

    def of(self, rows: Columns, count: int) -> dict[str, list[Any]]:
        """Features of a request's rows, in their order.

        Raises:
            RowRefused: The features of a row cannot be computed from its values.
            FeatureError: The features are not exactly one row for each row of the request.
        """
        try:
            made = self._made(rows, count)
        except ValuesRefused as refused:
            raise RowRefused(str(refused), self._first_refused(rows, count)) from refused
        made.sort(key=lambda row: row[0] or 0)  # a sort in DuckDB costs a request of one row 0.2 ms
        names = ["row_id", *self._schema.features]
        found = dict(zip(names, map(list, zip(*made, strict=True)), strict=True)) if made else {"row_id": []}
        if found.pop("row_id") != list(range(1, count + 1)):
            raise FeatureError(
                "The features are not exactly one row for each row of the request.",
                found=f"{len(made)} for {count}",
                where={"version": self._facts.version},
            )
        return found

    def _made(self, rows: Columns, count: int) -> list[Any]:
        compute = self._compute
        if count == 1 and self._one_row is not None:
            compute = functools.partial(self._one_row.of, rows)
        else:
            try:
                self._source.fill(rows, count)
            except (ValueError, TypeError, OverflowError) as error:  # of pyarrow
                raise ValuesRefused(named(error)) from error
        try:
            return compute()
        except BROKEN:
            raise
        except duckdb.Error as error:
            raise ValuesRefused(named(error)) from error

    def _first_refused(self, rows: Columns, count: int) -> int | None:
        """The first row whose features cannot be computed, by halving; None where it is not one row alone."""

        def is_refused(start: int, end: int) -> bool:
            try:
                self._made({name: values[start:end] for name, values in rows.items()}, end - start)
            except ValuesRefused:
                return True
            return False

        start, end = 0, count
        while end - start > 1:
            middle = (start + end) // 2
            start, end = (start, middle) if is_refused(start, middle) else (middle, end)
        return start if is_refused(start, end) else None

    def _wanted(self, relation: str) -> str:
        """SELECT of the model's features in their order, as the model takes them."""
        casts = [
            f"CAST({identifier(name)} AS DOUBLE)" if kind == "number" else identifier(name)
            for name, kind in self._schema.features.items()
        ]
        return f"SELECT row_id, {', '.join(casts)} FROM {relation}"

    def _text(self, folder: Path) -> str:
        """The features SELECT; empty where a function computes them."""
        if self._facts.function:
            return ""
        text = (folder / "bundle" / str(self._facts.sql)).read_text(encoding="utf-8").rstrip().rstrip(";")
        statements = self.con.extract_statements(text)  # parsed by itself: it cannot leave the parenthesis below
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ServingError(
                "The features are not one SELECT.", where={"file": folder / "bundle" / str(self._facts.sql)}
            )
        return with_stored_casts(self.con, text, [*self._facts.lookups, *self._facts.references])

    def _select(self, text: str) -> Callable[[], list[Any]]:
        # Prepared without parameters over a source that is filled anew: planned once, not at each request.
        self.con.execute("PREPARE features AS " + self._wanted(f"({text}\n)"))
        return lambda: self.con.execute("EXECUTE features").fetchall()

    def _for_one_row(self) -> OneRow | None:
        """Prepared before there is a view `batch`, so that it cannot read the rows of another request; None where the
        SELECT needs that view: by its full name, for example.
        """
        with contextlib.suppress(duckdb.Error):
            return OneRow(self.con, self._schema.columns, self._facts.batch, self._wanted(f"({self._sql}\n)"))
        return None

    def _function(self, folder: Path) -> Callable[[], list[Any]]:
        from ml_assets.lake import frames

        module, _, name = str(self._facts.function).partition(":")
        function = getattr(imported(folder / SOURCES, module), name)
        complete = {"row_id", *(set(self._schema.columns) - set(self._schema.nullable))}
        orders = {name: identifiers(key) for name, key in self._facts.lookups.items()}
        steady = {
            view: frames.to_pandas(
                self.con,
                f"SELECT * FROM {identifier(view)}" + (f" ORDER BY {orders[view]}" if view in orders else ""),
            )
            for view in self._facts.parameters
            if view != "batch"
        }

        def compute() -> list[Any]:
            batch = frames.to_pandas(self.con, "SELECT * FROM batch ORDER BY row_id", complete)
            made = function(batch=batch, **{view: frame.copy() for view, frame in steady.items()})
            frames.store(self.con, "function_rows", made.drop(columns="batch", errors="ignore"))
            return self.con.execute(self._wanted("function_rows")).fetchall()

        return compute


def _taken(engine: Features) -> duckdb.DuckDBPyConnection:
    if engine.spare is None:
        raise ValueError("an engine has one other beside it")
    taken, engine.spare = engine.spare, None
    return taken


def imported(sources: Path, module: str) -> Any:
    """A module of the release's own sources, whatever else of its name this process has imported before.

    What the module imports of its project comes from the same sources. ml_assets itself is left as it is.
    """
    with zipfile.ZipFile(sources) as packed:
        files = [name for name in packed.namelist() if not name.startswith("ml_assets/")]
    for file in files:
        sys.modules.pop(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."), None)
    sys.path.insert(0, str(sources))
    try:
        importlib.invalidate_caches()
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(sources))
