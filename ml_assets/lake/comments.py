"""What a table and its columns mean, as comments in the lake: any SQL client shows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import duckdb

from ml_assets.lake.sql import identifier, literal, table
from ml_assets.lake.writes import Put

WITHOUT_ROWS = "This comment makes a snapshot of a write without rows."
TABLE = ""  # the name under which a table's own comment stands beside those of its columns


def declared(put: Put) -> dict[str, str]:
    """Column -> comment, and the table's own under `TABLE`; only those that say something."""
    return {name: text for name, text in {TABLE: put.description, **put.column_descriptions}.items() if text}


def stored(con: duckdb.DuckDBPyConnection, schema: str) -> dict[str, dict[str, str]]:
    """Table, as `schema.table` -> the comments that it has, by the last commit; of all tables of a schema at once.

    From DuckLake's own tables: `duckdb_tables()` would count the rows of every table of the lake.
    """
    rows = con.execute(
        """
        WITH ours AS (
            SELECT table_id, table_name FROM __ducklake_metadata_lake.ducklake_table t
            JOIN __ducklake_metadata_lake.ducklake_schema s USING (schema_id)
            WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL AND s.schema_name = ?
        )
        SELECT table_name, '', value FROM __ducklake_metadata_lake.ducklake_tag JOIN ours ON table_id = object_id
        WHERE end_snapshot IS NULL AND key = 'comment'
        UNION ALL
        SELECT table_name, c.column_name, g.value FROM __ducklake_metadata_lake.ducklake_column_tag g
        JOIN ours USING (table_id)
        JOIN __ducklake_metadata_lake.ducklake_column c USING (table_id, column_id)
        WHERE g.end_snapshot IS NULL AND c.end_snapshot IS NULL AND g.key = 'comment'
        """,
        [schema],
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table_name, column, text in rows:
        found.setdefault(f"{schema}.{table_name}", {})[str(column)] = str(text)
    return found


def of_tables(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Table, as `schema.table` -> its own comment, by the last commit; of all tables of the lake."""
    rows = con.execute(
        """
        SELECT schema_name || '.' || table_name, value FROM __ducklake_metadata_lake.ducklake_table t
        JOIN __ducklake_metadata_lake.ducklake_schema s USING (schema_id)
        JOIN __ducklake_metadata_lake.ducklake_tag g ON g.object_id = t.table_id
        WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL AND g.end_snapshot IS NULL AND g.key = 'comment'
        """
    ).fetchall()
    return {str(name): str(text) for name, text in rows}


def write(con: duckdb.DuckDBPyConnection, name: str, comments: Mapping[str, str], columns: Collection[str]) -> None:
    """Set comments of a table and of those columns that it has, in the transaction of the write."""
    target = table(name)
    for column, text in comments.items():
        if column == TABLE:
            con.execute(f"COMMENT ON TABLE {target} IS {literal(text)}")
        elif column in columns:
            con.execute(f"COMMENT ON COLUMN {target}.{identifier(column)} IS {literal(text)}")


def write_again(con: duckdb.DuckDBPyConnection, put: Put) -> None:
    """Set the table's comment to what it is, for a write without rows.

    DuckLake makes no snapshot of a transaction that changes nothing, and then nobody could tell that it was written.
    """
    schema = put.table.partition(".")[0]
    text = put.description or stored(con, schema).get(put.table, {}).get(TABLE, WITHOUT_ROWS)
    write(con, put.table, {TABLE: text}, ())
