"""The lake as an I/O manager: a user's own assets take tables of the lake as arguments, and return tables into it."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from pydantic import Field, PrivateAttr

from ml_assets.errors import LakeError, SpecError, did_you_mean
from ml_assets.graph import declare
from ml_assets.graph.batches import combined_version
from ml_assets.lake import frames
from ml_assets.lake.lake import Commit, Lake, Put, Written
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifiers
from ml_assets.resources import MEMORY_LIMIT
from ml_assets.step_errors import user_errors
from ml_assets.tables.audit import writer_of

FORMS = "pandas.DataFrame, pyarrow.Table, duckdb.DuckDBPyRelation"
RETURNED = "returned_rows"


class LakeIOManager(dg.ConfigurableIOManager):
    """Passes tables of the lake into a user's own assets, and what they return into the lake.

    An input's annotation chooses its form: `pandas.DataFrame` (also without annotation), `pyarrow.Table`, or
    `duckdb.DuckDBPyRelation`. Where the asset is partitioned, only the rows of its batches are read; otherwise all.
    `dg.AssetIn(metadata={"columns": [...]})` reads these columns only.

    A returned table replaces the table `lake.<key>`, or the batches of the run where the asset is partitioned.

    Example:
        `@dg.asset(ins={"features": dg.AssetIn(key=["flights", "features"], input_manager_key="lake_io")})`
    """

    root: str = Field(default="", description="The project's folder; otherwise the one around the working directory.")
    data: str = Field(default="", description="The folder of its lake, reports and releases; otherwise `data`.")
    memory_limit: str = MEMORY_LIMIT
    _reader: Lake | None = PrivateAttr(default=None)
    _writer: Lake | None = PrivateAttr(default=None)

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["LakeIOManager"]:  # noqa: ARG002
        """Close the connections after the run: a relation that was handed out reads until then."""
        try:
            yield self
        finally:
            for lake in filter(None, (self._reader, self._writer)):
                lake.close()
            self._reader = self._writer = None

    def load_input(self, context: dg.InputContext) -> Any:
        """A table of the lake, in the form that the input's annotation names."""
        with user_errors(input=context.name, table=_table_of(context.asset_key)):
            form = _form(context.dagster_type.typing_type)
            if self._reader is None:
                self._reader = Lake.of(self._paths, read_only=True, memory_limit=self.memory_limit)
            return _in_form(self._relation(self._reader, context), form)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Replace the asset's table, or the batches of the run, by what the asset returned."""
        started = time.monotonic()
        with user_errors(table=_table_of(context.asset_key)):
            _check_returned(obj)
            if self._writer is None:
                self._writer = Lake.of(self._paths, memory_limit=self.memory_limit)
            frames.store(self._writer.con, RETURNED, obj)
            batches = list(context.asset_partition_keys) if context.has_asset_partitions else None
            written = _write(self._writer, _commit(context), _table_of(context.asset_key), batches)
        version = combined_version([one.data_version for one in written])
        context.step_context.set_data_version(context.asset_key, dg.DataVersion(version))
        metadata = declare.written_metadata(written[-1], time.monotonic() - started)
        context.add_output_metadata({**metadata, "dagster/row_count": sum(one.rows for one in written)})

    @property
    def _paths(self) -> Paths:
        paths = Paths.of(Path(self.root) if self.root else None)
        return replace(paths, data=Path(self.data)) if self.data else paths

    def _relation(self, lake: Lake, context: dg.InputContext) -> duckdb.DuckDBPyRelation:
        batches = _batches(context)
        # At one snapshot: a relation is read when it is used, and others may write in between.
        relation = lake.table(_table_of(context.asset_key), batches=batches, snapshot=lake.snapshot())
        columns = context.definition_metadata.get("columns")
        if not columns:
            return relation
        for column in columns:
            if column not in relation.columns:
                raise LakeError(f"There is no column {column!r}; {did_you_mean(column, relation.columns)}")
        return relation.project(identifiers(list(columns)))


def _table_of(key: dg.AssetKey) -> str:
    """The table of an asset; a key of one part has its table in the schema `main`."""
    if len(key.path) > 2:
        raise SpecError(
            "An asset in the lake has a key of one or two parts: a schema and a table.",
            found=key.to_user_string(),
            fix="Give it a shorter key, or another I/O manager.",
        )
    return declare.table_of(key if len(key.path) == 2 else dg.AssetKey(["main", *key.path]))


def _batches(context: dg.InputContext) -> list[str] | None:
    """Batches that an input covers; None for all rows, where the lake may hold more than Dagster has registered."""
    if not context.has_asset_partitions:
        return None
    keys = list(context.asset_partition_keys)
    if context.step_context.entity_partitions_def is None:
        every = context.asset_partitions_def.get_partition_keys(dynamic_partitions_store=context.instance)
        return None if set(every) <= set(keys) else keys
    return keys


def _form(annotation: Any) -> str:
    name = f"{getattr(annotation, '__module__', '')}.{getattr(annotation, '__qualname__', '')}"
    if annotation in (None, Any) or (name.startswith("pandas.") and name.endswith(".DataFrame")):
        return "pandas"
    if name == "pyarrow.lib.Table":
        return "arrow"
    if name.endswith(".DuckDBPyRelation"):
        return "relation"
    raise SpecError(
        "A table of the lake cannot be given in this form.",
        found=f"the annotation {getattr(annotation, '__name__', annotation)}",
        fix=f"Annotate the parameter with one of {FORMS}.",
    )


def _in_form(relation: duckdb.DuckDBPyRelation, form: str) -> Any:
    if form == "pandas":
        return relation.df()
    return relation.to_arrow_table() if form == "arrow" else relation


def _check_returned(obj: Any) -> None:
    import pandas as pd
    import pyarrow as pa

    if not isinstance(obj, pd.DataFrame | pa.Table | duckdb.DuckDBPyRelation):
        raise SpecError(
            "The asset returned something that is not a table.",
            found=type(obj).__name__,
            fix=f"Return one of {FORMS}; annotate an asset that returns nothing with `-> None`.",
        )


def _commit(context: dg.OutputContext) -> Commit:
    return Commit(
        asset=context.asset_key.to_user_string(),
        run_id=context.run_id,
        code_version=context.asset_spec.code_version or "",
    )


def _write(lake: Lake, commit: Commit, name: str, batches: Sequence[str] | None) -> list[Written]:
    """Replace a table by the returned rows, or these batches of it, one snapshot each."""
    other = writer_of(lake, name)
    if lake.exists(name) and other != commit.asset:
        raise LakeError(
            f"The table {name} is not this asset's to write.",
            found=f"it is written by {other or 'something else'}",
            fix="Give the asset another key.",
        )
    if batches is None:
        return lake.replace([Put(name, RETURNED, reshape=True)], commit)
    _check_batches(lake, batches)
    written = []
    for batch in batches:
        lake.con.execute("SET VARIABLE batch = ?", [batch])
        put = Put(name, f"(SELECT * FROM {RETURNED} WHERE batch = getvariable('batch'))", batch)
        written += lake.replace([put], replace(commit, batch=batch))
    return written


def _check_batches(lake: Lake, batches: Sequence[str]) -> None:
    """Each row says its batch; where the run has one batch only, it need not."""
    if "batch" not in lake.columns(RETURNED):
        if len(batches) > 1:
            raise SpecError(
                "The run has several batches, and the returned table has no column `batch` that tells them apart.",
                found=f"{len(batches)} batches",
                fix="Keep the column `batch` of the input, or run one batch at a time.",
            )
        lake.con.execute("SET VARIABLE batch = ?", [batches[0]])
        lake.con.execute(f"ALTER TABLE {RETURNED} ADD COLUMN batch VARCHAR DEFAULT getvariable('batch')")
    strange = lake.con.execute(
        f"SELECT DISTINCT batch::VARCHAR FROM {RETURNED} WHERE batch IS NULL OR NOT list_contains(?, batch::VARCHAR)",
        [list(batches)],
    ).fetchall()
    if strange:
        raise SpecError(
            "The returned table has rows of batches that are not of this run.",
            found=", ".join(sorted(str(row[0]) for row in strange)),
            fix=f"Return rows of {', '.join(batches)} only.",
        )
