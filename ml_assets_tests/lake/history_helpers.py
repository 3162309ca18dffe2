"""A lake with a history, written by hand: a pipeline `t` of batch tables, logs and models."""

from __future__ import annotations

from typing import Any

from ml_assets.lake.lake import Commit, Lake, Put, Rows, Written, at
from ml_assets.lake.sql import table
from ml_assets.tables import training_sets, versions

LOG = {"n": "INTEGER", "said": "VARCHAR"}


def write(lake: Lake, table_name: str, batch: str, sql: str, code: str = "v1", pipeline: str = "t") -> Written:
    """Replace a batch of a table by the rows of a SELECT without the batch."""
    lake.con.execute(f"CREATE OR REPLACE TEMP TABLE made AS SELECT '{batch}' AS batch, * FROM ({sql})")
    commit = Commit(asset=f"{pipeline}/{table_name}", run_id="run", code_version=code, batch=batch)
    return lake.replace([Put(f"{pipeline}.{table_name}", "made", batch, reshape=table_name == "features")], commit)[0]


def rows(values: dict[int, object]) -> str:
    """A SELECT of row_id and v."""
    return " UNION ALL ".join(f"SELECT {row}::BIGINT AS row_id, {value!r} AS v" for row, value in values.items())


def log(lake: Lake, number: int, pipeline: str = "t") -> None:
    """Append two rows to a log."""
    lines = [{"n": number, "said": "a"}, {"n": number, "said": "b"}]
    lake.append([Rows(f"{pipeline}.trials", LOG, lines)], Commit(asset=f"{pipeline}/candidate_x"))


def model(lake: Lake, version: str, snapshot: int, pipeline: str = "t", pin_snapshot: int | None = None) -> None:
    """Register a model version whose training set reads a snapshot."""
    commit = Commit(asset=f"{pipeline}/trained_model")
    row: dict[str, Any] = {"version": version, "snapshot_id": snapshot, "pin_id": f"pin-{version}"}
    versions.register(lake, pipeline, row, commit)
    if pin_snapshot is not None:
        pin = {"pin_id": f"pin-{version}", "snapshot_id": pin_snapshot}
        lake.append([Rows(f"{pipeline}.training_set", training_sets.TRAINING_SETS.types, [pin])], commit)


def content(lake: Lake, snapshot: int | None = None) -> dict[str, tuple[object, ...]]:
    """Table -> what tells its rows, whatever their order, at a snapshot."""
    found = {}
    for name in lake.tables():
        if name.partition(".")[2] in ("writes", "maintenance"):
            continue
        try:
            sql = f"SELECT count(*), sum(hash(r)::HUGEINT)::VARCHAR FROM (FROM {table(name)}{at(snapshot)}) r"
            found[name] = lake.con.execute(sql).fetchall()[0]
        except Exception as error:
            if "does not exist" not in str(error):
                raise
    return found
