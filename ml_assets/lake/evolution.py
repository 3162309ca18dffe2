"""How a table of the lake takes rows of other columns or types than its own."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from ml_assets.errors import SchemaChange
from ml_assets.lake.sql import identifier, table
from ml_assets.lake.writes import Put

WIDENS = ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "DOUBLE"]


def evolve(
    con: duckdb.DuckDBPyConnection, put: Put, source: str, stored_columns: Mapping[str, str], columns: Mapping[str, str]
) -> bool:
    """Make room for new columns and wider types, or refuse: DuckLake would round 1.7 to 2 in silence.

    Returns whether a column was added, renamed or dropped.

    Args:
        con: The lake's connection, in the transaction of the write.
        put: What is written.
        source: Its rows, as a relation.
        stored_columns: Column name -> SQL type of the table as it is.
        columns: Those of the rows.

    Raises:
        SchemaChange: A column would lose values.
    """
    target, is_altered = table(put.table), False
    known = {name.lower(): (name, kind) for name, kind in stored_columns.items()}
    for column, before in put.renamed.items():
        if before in known and column not in known:
            con.execute(f"ALTER TABLE {target} RENAME COLUMN {identifier(before)} TO {identifier(column)}")
            known[column] = (column, known.pop(before)[1])
            is_altered = True
    if put.reshape:
        wanted = {name.lower() for name in columns}
        for stored_name, _ in [known.pop(name) for name in list(known) if name not in wanted]:
            con.execute(f"ALTER TABLE {target} DROP COLUMN {identifier(stored_name)}")
            is_altered = True
    for column, kind in columns.items():
        if column.lower() not in known:
            con.execute(f"ALTER TABLE {target} ADD COLUMN {identifier(column)} {kind}")
            is_altered = True
            continue
        stored_name, stored = known[column.lower()]
        if stored == kind or (kind in WIDENS and stored in WIDENS and WIDENS.index(kind) < WIDENS.index(stored)):
            continue
        if kind in WIDENS and stored in WIDENS:
            con.execute(f"ALTER TABLE {target} ALTER COLUMN {identifier(stored_name)} SET DATA TYPE {kind}")
        elif put.reshape:
            con.execute(f"ALTER TABLE {target} DROP COLUMN {identifier(stored_name)}")
            con.execute(f"ALTER TABLE {target} ADD COLUMN {identifier(column)} {kind}")
            is_altered = True
        elif con.execute(f"SELECT count({identifier(column)}) FROM {source}").fetchall()[0][0]:
            raise SchemaChange(
                f"A column of {put.table} cannot change from {stored} to {kind} without losing values.",
                where={"table": put.table, "column": column, "batch": put.batch},
                fix="Cast the column to its earlier type, or give it a new name.",
            )
    return is_altered
