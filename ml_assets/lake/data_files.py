"""What DuckLake's catalog knows of a table's files, so that its rows need not be read. Names are `schema.table`."""

from __future__ import annotations

import duckdb

from ml_assets.lake.sql import identifier, table

# A table's living files, each with the batch that it belongs to; parameters $schema and $table_name.
FILES = """
    FROM __ducklake_metadata_lake.ducklake_data_file f
    JOIN __ducklake_metadata_lake.ducklake_file_partition_value v USING (data_file_id)
    JOIN __ducklake_metadata_lake.ducklake_table t ON t.table_id = f.table_id
    JOIN __ducklake_metadata_lake.ducklake_schema s ON s.schema_id = t.schema_id
"""
LIVING = "f.end_snapshot IS NULL AND t.end_snapshot IS NULL AND s.schema_name = $schema AND t.table_name = $table_name"


def tables(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of all tables, in order: ten times as fast as duckdb_tables(), which counts every table's rows."""
    sql = """SELECT schema_name || '.' || table_name FROM __ducklake_metadata_lake.ducklake_table t
        JOIN __ducklake_metadata_lake.ducklake_schema s USING (schema_id)
        WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL ORDER BY schema_name, table_name"""
    return [row[0] for row in con.execute(sql).fetchall()]


def batches(con: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    """Batches that have rows in a table, in order."""
    sql = f"SELECT DISTINCT v.partition_value {FILES} WHERE {LIVING} ORDER BY 1"
    return [row[0] for row in con.execute(sql, _parts(name)).fetchall()]


def rows_by_batch(con: duckdb.DuckDBPyConnection, name: str) -> dict[str, int]:
    """Batch -> its rows, in order."""
    sql = f"""SELECT v.partition_value, sum(f.record_count - coalesce(d.delete_count, 0))::BIGINT AS rows {FILES}
        LEFT JOIN __ducklake_metadata_lake.ducklake_delete_file d
            ON d.data_file_id = f.data_file_id AND d.end_snapshot IS NULL
        WHERE {LIVING} GROUP BY 1 ORDER BY 1"""
    return {batch: rows for batch, rows in con.execute(sql, _parts(name)).fetchall() if rows}


def values_by_batch(con: duckdb.DuckDBPyConnection, name: str, column: str) -> dict[str, set[str]]:
    """Batch -> the different values of a text column; rows are read only of files that hold several."""
    found: dict[str, set[str]] = {}
    mixed = []
    for batch, low, high in con.execute(
        f"""
        SELECT v.partition_value, c.min_value, c.max_value {FILES}
        JOIN __ducklake_metadata_lake.ducklake_column n
            ON n.table_id = t.table_id AND n.column_name = $column AND n.end_snapshot IS NULL
        LEFT JOIN __ducklake_metadata_lake.ducklake_file_column_stats c
            ON c.data_file_id = f.data_file_id AND c.column_id = n.column_id
        WHERE {LIVING}
        """,
        {"column": column, **_parts(name)},
    ).fetchall():
        found.setdefault(batch, set())
        if low is not None and low == high:
            found[batch].add(low)
        else:
            mixed.append(batch)
    if mixed:
        rows = con.execute(
            f"SELECT DISTINCT batch, {identifier(column)} FROM {table(name)} "
            f"WHERE batch IN (SELECT unnest($mixed)) AND {identifier(column)} IS NOT NULL",
            {"mixed": mixed},
        ).fetchall()
        for batch, value in rows:
            found[batch].add(value)
    return found


def written_bytes(con: duckdb.DuckDBPyConnection, snapshot: int) -> dict[str, int]:
    """Table -> bytes of the files that a snapshot added to it."""
    rows = con.execute(
        """
        SELECT s.schema_name, t.table_name, sum(f.file_size_bytes)
        FROM __ducklake_metadata_lake.ducklake_data_file f
        JOIN __ducklake_metadata_lake.ducklake_table t USING (table_id)
        JOIN __ducklake_metadata_lake.ducklake_schema s ON s.schema_id = t.schema_id
        WHERE f.begin_snapshot = ? AND t.end_snapshot IS NULL GROUP BY ALL
        """,
        [snapshot],
    ).fetchall()
    return {f"{schema}.{table_name}": int(size) for schema, table_name, size in rows}


def _parts(name: str) -> dict[str, str]:
    schema, _, table_name = name.partition(".")
    return {"schema": schema, "table_name": table_name}
