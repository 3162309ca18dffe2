"""Whether the lake has a table, and the columns of a relation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import duckdb

from ml_assets.errors import LakeError, did_you_mean
from ml_assets.lake.faults import is_bad_catalog
from ml_assets.lake.sql import table

T = TypeVar("T")


def table_exists(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Is there such a table? By binding it, ten times as fast as duckdb_tables(), which counts every table's rows."""
    return _if_there(lambda: con.execute(f"SELECT 1 FROM {table(name)} LIMIT 0")) is not None


def table_columns(con: duckdb.DuckDBPyConnection, name: str) -> dict[str, str] | None:
    """Column name -> SQL type of a table; None where there is no such table."""
    return _if_there(lambda: columns_of(con, table(name)))


def _if_there(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except duckdb.CatalogException as error:
        if is_bad_catalog(error):  # of the same class, though it says nothing of this table
            raise
        return None


def columns_of(con: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Column name -> SQL type of a relation, such as `lake."flights"."features"` or a temporary table."""
    return {row[0]: row[1] for row in con.execute(f"DESCRIBE FROM {relation}").fetchall()}


def no_such_table(name: str, known: Sequence[str]) -> LakeError:
    """The error of a table that is not there; a name without its pipeline is a near miss of each one's table."""
    same = [one for one in known if name in (one.partition(".")[2], f"lake.{one}")]
    fix = f"did you mean {' or '.join(map(repr, same))}?" if same else did_you_mean(name, known)
    return LakeError(f"The lake has no table {name}; a table is named PIPELINE.TABLE.", fix=fix)
