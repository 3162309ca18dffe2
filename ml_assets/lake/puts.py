"""Writing the rows of one table, within a transaction of the lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import duckdb

from ml_assets.atomic import short_hash
from ml_assets.lake import comments, damaged_files, evolution
from ml_assets.lake.faults import cause
from ml_assets.lake.shape import columns_of, table_exists
from ml_assets.lake.sql import identifier, identifiers, table
from ml_assets.lake.writes import Put, stored_type

# Table -> the comments that it is known to have: those of a schema are read once a connection.
Commented = dict[str, dict[str, str]]


def normalised(con: duckdb.DuckDBPyConnection, put: Put) -> str:
    """The source as a SELECT whose types the lake stores without loss."""
    casts = []
    for column, kind in columns_of(con, put.source).items():
        if (stored := stored_type(kind)) != kind:
            casts.append(f"CAST({identifier(column)} AS {stored}) AS {identifier(column)}")
    replaced = f" REPLACE ({', '.join(casts)})" if casts else ""
    return f"(SELECT *{replaced} FROM {put.source})"


def data_version(con: duckdb.DuckDBPyConnection, put: Put, source: str) -> str:
    """The hash of schema and rows, whatever their order."""
    if put.version is not None:
        return put.version
    columns = {name: kind for name, kind in columns_of(con, source).items() if name not in put.volatile}
    rows, total = con.execute(
        f"SELECT count(*), sum(hash(t)::HUGEINT)::VARCHAR FROM (SELECT {identifiers(list(columns))} FROM {source}) t"
    ).fetchall()[0]
    # A renamed column changes no content: it counts under its earlier name.
    named = sorted((put.renamed.get(name, name), kind) for name, kind in columns.items())
    # DuckDB makes no promise that hash() stays the same in its next major version.
    return short_hash(json.dumps([duckdb.__version__.split(".")[0], named, rows, total]))


def write(
    con: duckdb.DuckDBPyConnection,
    put: Put,
    source: str,
    commented: Commented,
    is_readable: bool,
    may_have: Callable[[str, str], bool],
) -> int:
    """Write the rows of one table; returns their number.

    Args:
        con: The connection.
        put: What is written.
        source: Its rows, as a SELECT.
        commented: What is known of the tables' comments.
        is_readable: Can rows that are replaced be found by reading them? Otherwise they end after the commit.
        may_have: May a table have rows of a batch? To find by reading that there are none takes 10 ms, and more in a
            lake of many batches.

    Raises:
        SchemaChange: A column cannot be stored without loss.
        Unreadable: The rows that are replaced cannot be read.
    """
    target = table(put.table)
    schema = put.table.partition(".")[0]
    columns = columns_of(con, source)
    whole = put.batch is None and not put.append
    reshaped = put.reshape and table_exists(con, put.table) and columns_of(con, target) != columns
    if whole and (reshaped or not is_readable):
        con.execute(f"DROP TABLE {target}")
    if not table_exists(con, put.table):
        con.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{identifier(schema)}")
        con.execute(f"CREATE TABLE {target} AS SELECT * FROM {source} LIMIT 0")
        divided_by = put.divided_by if put.batch is None else "batch"
        if divided_by:
            con.execute(f"ALTER TABLE {target} SET PARTITIONED BY ({identifier(divided_by)})")
        _comment(con, put, {}, commented)
    else:
        is_altered = evolution.evolve(con, put, source, columns_of(con, target), columns)
        _comment(con, put, {} if is_altered else commented.get(put.table), commented)
        if is_readable and (put.key or put.batch is None or may_have(put.table, put.batch)):
            _remove_replaced(con, put, source)
    return int(con.execute(f"INSERT INTO {target} BY NAME SELECT * FROM {source}").fetchall()[0][0])


def _comment(con: duckdb.DuckDBPyConnection, put: Put, known: dict[str, str] | None, commented: Commented) -> None:
    """Write the comments that the table does not have; `known` is None where those that it has must be read first."""
    declared = comments.declared(put)
    if declared == known or not declared:
        return
    if known is None:
        for name, texts in comments.stored(con, put.table.partition(".")[0]).items():
            commented.setdefault(name, texts)
    has = commented.get(put.table, {}) if known is None else known
    missing = {name: text for name, text in declared.items() if has.get(name) != text}
    if missing:
        comments.write(con, put.table, missing, columns_of(con, table(put.table)))
    commented[put.table] = declared


def _remove_replaced(con: duckdb.DuckDBPyConnection, put: Put, source: str) -> None:
    """Delete the rows that a put replaces.

    Raises:
        Unreadable: Those of a batch or a whole table cannot be read.
    """
    target = table(put.table)
    if put.append and not put.key:
        return
    try:
        if put.key:
            # Names alone, without brackets around one: DuckDB would take them for a struct.
            key = identifiers(put.key) if len(put.key) == 1 else f"({identifiers(put.key)})"
            con.execute(f"DELETE FROM {target} WHERE {key} IN (SELECT {key} FROM {source})")
        elif put.batch is not None:
            con.execute(f"DELETE FROM {target} WHERE batch = ?", [put.batch])
        else:
            con.execute(f"DELETE FROM {target}")
    except duckdb.Error as error:
        if not put.append and cause(error).is_of_data:
            raise damaged_files.Unreadable(put.table) from error
        raise


def fill(
    con: duckdb.DuckDBPyConnection, name: str, types: Mapping[str, str], rows: Sequence[Mapping[str, object]]
) -> None:
    """Make a temporary table of these rows: column name -> SQL type; a missing key is NULL, a dictionary is JSON."""
    columns = ", ".join(f"{identifier(column)} {kind}" for column, kind in types.items())
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({columns})")
    if rows:
        cells = [[_cell(row.get(column)) for row in rows] for column in types]
        con.execute(f"INSERT INTO {name} SELECT {', '.join('unnest(?)' for _ in types)}", cells)


def _cell(value: object) -> object:
    return json.dumps(value, default=str) if isinstance(value, dict) else value
