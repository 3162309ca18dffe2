"""Rows to features, by the release's own SELECT or function over the same views that batches have.

Joins give rows in another order: each row carries a number, and what comes back is put in that order and must be
exactly one row for each.
"""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from ml_assets.errors import FeatureError, ServingError
from ml_assets.ml.bundle import Schema
from ml_assets.ml.release import SOURCES, Facts
from ml_assets.store.database import in_memory
from ml_assets.store.sql import identifier, identifiers, literal

Columns = Mapping[str, Sequence[Any]]


class Source:
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

    Raises:
        ServingError: The SELECT or the function does not fit the release's tables.
    """

    def __init__(self, folder: Path, facts: Facts, schema: Schema) -> None:
        self._schema, self._facts = schema, facts
        self._source = Source(schema)
        self.con = in_memory()
        self.con.execute("SET threads = 1; SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        self.con.execute(f"SET VARIABLE batch = {literal(facts.batch)}")
        for kind, names in (("lookups", facts.lookups), ("references", facts.references)):
            for name in names:
                file = literal(str(folder / kind / f"{name}.parquet"))
                self.con.execute(f"CREATE TABLE {identifier(name)} AS FROM read_parquet({file})")
        self.con.register("request_rows", self._source)
        self.con.execute("CREATE TEMP VIEW batch AS SELECT getvariable('batch')::VARCHAR AS batch, * FROM request_rows")
        try:
            self._compute = self._function(folder) if facts.function else self._select(folder)
        except (duckdb.Error, ImportError, AttributeError) as error:
            raise ServingError("The release's features cannot be computed.", found=_first_line(error)) from error
        self.con.execute("SET enable_external_access = false")

    def of(self, rows: Columns, count: int) -> dict[str, list[Any]]:
        """Features of a request's rows, in their order.

        Raises:
            FeatureError: The features are not exactly one row for each row of the request.
        """
        self._source.fill(rows, count)
        made = self._compute()
        names = ["row_id", *self._schema.features]
        found = dict(zip(names, map(list, zip(*made, strict=True)), strict=True)) if made else {"row_id": []}
        if found.pop("row_id") != list(range(1, count + 1)):
            raise FeatureError(
                "The features are not exactly one row for each row of the request.",
                found=f"{len(made)} for {count}",
                where={"version": self._facts.version},
            )
        return found

    def _wanted(self, relation: str) -> str:
        """SELECT of the model's features in their order, as the model takes them."""
        casts = [
            f"CAST({identifier(name)} AS DOUBLE)" if kind == "number" else identifier(name)
            for name, kind in self._schema.features.items()
        ]
        return f"SELECT row_id, {', '.join(casts)} FROM {relation} ORDER BY row_id"

    def _select(self, folder: Path) -> Callable[[], list[Any]]:
        text = (folder / "bundle" / str(self._facts.sql)).read_text().rstrip().rstrip(";")
        # Prepared without parameters over a source that is filled anew: planned once, not at each request.
        self.con.execute("PREPARE features AS " + self._wanted(f"({text}\n)"))
        return lambda: self.con.execute("EXECUTE features").fetchall()

    def _function(self, folder: Path) -> Callable[[], list[Any]]:
        from ml_assets.store import frames

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


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
