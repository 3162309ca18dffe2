"""What DuckLake's catalog knows of a table's files, so that its rows need not be read. Names are `schema.table`.

The catalog's own engine is asked, by its indexes. DuckLake asks through DuckDB, which reads the rows of all files of
the lake from a SQLite catalog, and all their statistics where a query has a filter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from ml_assets.lake.sql import identifier, identifiers, literal, table

# Rows of a statement that the catalog's engine runs, with parameters $1, $2, ... in the order of their first use.
Ask = Callable[[str, Sequence[str]], list[tuple[Any, ...]]]

MOST_FILES = 200  # that a statement names
BY_BYTES = "BINARY"  # the collation that orders texts as Python does, as SQLite names it
METADATA = "'__ducklake_metadata_lake'"  # the attached lake's catalog, as DuckLake names it
# What the statements below filter by, and DuckLake's own; DuckLake makes no index.
INDEXES = {
    "ml_assets_files_of_table": "ducklake_data_file (table_id)",
    "ml_assets_files_of_snapshot": "ducklake_data_file (begin_snapshot)",
    "ml_assets_partitions": "ducklake_file_partition_value (table_id, partition_value)",
    "ml_assets_partition_of_file": "ducklake_file_partition_value (data_file_id)",
    "ml_assets_statistics_of_column": "ducklake_file_column_stats (table_id, column_id)",
    "ml_assets_statistics_of_file": "ducklake_file_column_stats (data_file_id)",
    "ml_assets_deletes_of_file": "ducklake_delete_file (data_file_id)",
}
# Not 0 where somebody lets DuckLake keep rows, or which rows are deleted, in the catalog and not in files.
INLINED = """((SELECT count(*) FROM ducklake_inlined_data_tables)
    + (SELECT count(*) FROM ducklake_metadata m WHERE m.key = 'data_inlining_row_limit' AND m.value <> '0'))"""
# Types of DuckLake that a Parquet file holds as they are.
PLAIN = {
    *("boolean", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"),
    *("date", "timestamp", "timestamptz", "varchar", "blob", "list", "struct", "map"),
}


def make_indexes(con: duckdb.DuckDBPyConnection, schema: str) -> None:
    """Make the indexes that are missing in the attached lake's catalog, whose tables are in this schema."""
    for name, columns in INDEXES.items():
        con.execute(f"CREATE INDEX IF NOT EXISTS {name} ON __ducklake_metadata_lake.{identifier(schema)}.{columns}")


@dataclass(frozen=True)
class DataFiles:
    """What the catalog says of the files that live at a snapshot, or now.

    Args:
        ask: Asks the catalog.
        url: Where the files are.
        snapshot: Id of the snapshot.
    """

    ask: Ask
    url: str
    snapshot: int | None = None

    def tables(self) -> list[str]:
        """Names of all tables, in order: ten times as fast as duckdb_tables(), which counts every table's rows."""
        sql = f"""SELECT s.schema_name AS schema_name, t.table_name AS table_name FROM ducklake_schema s
            JOIN ducklake_table t ON t.schema_id = s.schema_id AND {self._lives("s")} AND {self._lives("t")}"""
        return [f"{schema}.{name}" for schema, name in sorted(self.ask(sql, []))]

    def batches(self, name: str, before: str | None = None, last: int | None = None) -> list[str]:
        """Batches that have rows in a table, in order: at most the `last` of those before a batch."""
        earlier = [] if before is None else [before]
        found = self.ask(
            f"""SELECT DISTINCT v.partition_value COLLATE {BY_BYTES} AS batch FROM ducklake_file_partition_value v
            WHERE v.table_id = (SELECT t.table_id FROM {self._table})
                {f"AND v.partition_value COLLATE {BY_BYTES} < $3" if earlier else ""}
                AND EXISTS (SELECT 1 FROM ducklake_data_file f
                    WHERE f.data_file_id = v.data_file_id AND {self._lives("f")})
            {"" if last is None else f"ORDER BY batch DESC LIMIT {last}"}""",
            [*_parts(name), *earlier],
        )
        return sorted(batch for (batch,) in found)

    def rows_by_batch(self, name: str) -> dict[str, int]:
        """Batch -> its rows, in order."""
        sql = f"SELECT v.partition_value AS batch, {self._rows} AS n {self._of_batches} GROUP BY v.partition_value"
        return {batch: int(rows) for batch, rows in sorted(self.ask(sql, _parts(name))) if int(rows)}

    def values_by_batch(self, name: str, column: str) -> list[tuple[str, str | None, str | None]]:
        """Batch, least and greatest value of a column, for each file."""
        sql = f"""SELECT v.partition_value AS batch, c.min_value AS low, c.max_value AS high {self._of_batches}
            JOIN ducklake_column n
                ON n.table_id = t.table_id AND n.column_name = $3 AND n.end_snapshot IS NULL
            LEFT JOIN ducklake_file_column_stats c
                ON c.data_file_id = f.data_file_id AND c.column_id = n.column_id"""
        return [(batch, low, high) for batch, low, high in self.ask(sql, [*_parts(name), column])]

    def exists(self, name: str) -> bool:
        """Is there a table of exactly this name?"""
        return bool(self.ask(f"SELECT t.table_id AS id FROM {self._table}", _parts(name)))

    def files_by_batch(self, name: str) -> dict[str, str] | None:
        """Batch -> what names its files, and which of their rows are deleted; None where only DuckLake knows its rows.

        As no file is written twice, equal names are equal rows, while the table's columns stay the same. So the last
        change of those is part of it.
        """
        if not self._is_by_batch(name) or self._is_inlined():
            return None
        sql = f"""SELECT max(c.begin_snapshot) AS began, max(c.end_snapshot) AS ended
            FROM {self._table} JOIN ducklake_column c ON c.table_id = t.table_id"""
        ((began, ended),) = self.ask(sql, _parts(name))
        found: dict[str, list[str]] = {}
        for batch, file, deletes in self.ask(
            f"""SELECT v.partition_value AS batch, f.path AS file, d.path AS deletes {self._of_batches}
                LEFT JOIN ducklake_delete_file d ON d.data_file_id = f.data_file_id AND {self._lives("d")}""",
            _parts(name),
        ):
            found.setdefault(batch, []).append(f"{file} {deletes}")
        return {batch: f"{began} {ended} {sorted(files)}" for batch, files in sorted(found.items())}

    def commits(self, prefix: str, since: int) -> list[tuple[int, str, str, str]]:
        """Id, moment, message and extra information of snapshots from one on, by how their message begins; in order."""
        until = "" if self.snapshot is None else f"AND s.snapshot_id <= {self.snapshot}"
        sql = f"""SELECT s.snapshot_id AS id, CAST(s.snapshot_time AS TEXT) AS moment, c.commit_message AS message,
                c.commit_extra_info AS extra
            FROM ducklake_snapshot_changes c JOIN ducklake_snapshot s ON s.snapshot_id = c.snapshot_id
            WHERE c.snapshot_id >= {since} {until} AND substr(c.commit_message, 1, length($1)) = $1"""
        return sorted((int(one), *others) for one, *others in self.ask(sql, [prefix]))

    def count(self, name: str) -> int | None:
        """Rows of a table, 0 where there is none; None where the catalog cannot tell."""
        # Deleted rows as one sum: to look for those of each file takes longer than all else.
        sql = f"""SELECT sum(f.record_count) AS n, count(f.partial_max) AS merged, {INLINED} AS inlined,
            (SELECT sum(d.delete_count) FROM ducklake_delete_file d
                WHERE d.table_id = (SELECT t.table_id FROM {self._table}) AND {self._lives("d")}
                    AND EXISTS (SELECT 1 FROM ducklake_data_file e
                        WHERE e.data_file_id = d.data_file_id AND {self._lives("e")})) AS deleted {self._files}"""
        ((rows, merged, inlined, deleted),) = self.ask(sql, _parts(name))
        if int(inlined) or (int(merged) and self.snapshot is not None):
            return None  # a file that maintenance has merged holds the rows of several snapshots
        return int(rows or 0) - int(deleted or 0)

    def columns(self, name: str) -> list[str]:
        """Names of a table's columns, in order; none where there is no such table."""
        top = [column for column in self._columns(name) if column[2] is None]
        return [column for column, _, _, began, ended in top if self._is(began, ended)]

    def rows(self, name: str, batches: Sequence[str] | None) -> str | None:
        """The rows of a table, or of some batches, as SQL that can follow FROM; None where only DuckLake can read them.

        Their files are named, so that no other is looked for. It takes DuckLake to read very many files, rows of which
        some are deleted, files from before the table's columns changed, types that Parquet lacks, and rows in the
        catalog itself. All batches are left to it, too: it knows which of their files a condition needs.
        """
        columns = self._columns(name)
        there = [column for column in columns if column[4] is None]
        is_plain = all(kind in PLAIN or kind.startswith("decimal(") for _, kind, *_ in there)
        if not columns or not is_plain or self._is_inlined() or (batches is None) == self._is_by_batch(name):
            return None
        changed = max(int(moment) for *_, began, ended in columns for moment in (began, ended) if moment is not None)
        found = self._paths(name, batches, changed)
        if not found:
            return f"(SELECT * FROM {table(name)} WHERE false)"
        if len(found) > MOST_FILES or not all(int(is_plain) for *_, is_plain in found):
            return None
        files = ", ".join(literal(f"{self.url}/{schema}{folder}{file}") for schema, folder, file, _ in found)
        names = identifiers([column for column, _, parent, *_ in there if parent is None])
        return f"(SELECT {names} FROM read_parquet([{files}], hive_partitioning = false))"

    def _columns(self, name: str) -> list[tuple[Any, ...]]:
        """Name, type, parent, first snapshot and the one that ended it, of all columns that a table ever had."""
        return self.ask(
            f"""SELECT c.column_name AS name, c.column_type AS type, c.parent_column AS parent,
            c.begin_snapshot AS began, c.end_snapshot AS ended
            FROM {self._table} JOIN ducklake_column c ON c.table_id = t.table_id ORDER BY c.column_order""",
            _parts(name),
        )

    def _paths(self, name: str, batches: Sequence[str] | None, changed: int) -> list[tuple[Any, ...]]:
        """The paths of the files of some batches or, with one more than are named, of all; and whether a file is plain.

        Args:
            name: The table.
            batches: The batches.
            changed: The snapshot since which the table has its columns.
        """
        among, values = self._files, list[str]()
        if batches is not None:
            marks = ", ".join(f"${number}" for number in range(3, 3 + len(batches)))
            among, values = f"{self._of_batches} WHERE v.partition_value IN ({marks})", list(batches)
        merged = "" if self.snapshot is None else f"AND (f.partial_max IS NULL OR f.partial_max <= {self.snapshot})"
        return self.ask(
            f"""SELECT s.path AS schema_path, t.path AS table_path, f.path AS file_path,
            CASE WHEN s.path_is_relative AND t.path_is_relative AND f.path_is_relative AND f.mapping_id IS NULL
                AND f.encryption_key IS NULL AND f.begin_snapshot >= {changed} {merged}
                AND NOT EXISTS (SELECT 1 FROM ducklake_delete_file d
                    WHERE d.data_file_id = f.data_file_id AND {self._lives("d")})
            THEN 1 ELSE 0 END AS is_plain
            {among} ORDER BY f.data_file_id LIMIT {MOST_FILES + 1}""",
            [*_parts(name), *values],
        )

    def has_changed(self, name: str, since: int) -> bool:
        """Were rows of a table written or deleted after a snapshot? It may say so where none were."""
        sql = f"""SELECT {INLINED} + count(*) AS n FROM {self._table} JOIN ducklake_data_file f
            ON f.table_id = t.table_id LEFT JOIN ducklake_delete_file d ON d.data_file_id = f.data_file_id
            WHERE f.begin_snapshot > {since} OR f.end_snapshot > {since} OR d.begin_snapshot > {since}"""
        ((changes,),) = self.ask(sql, _parts(name))
        return bool(int(changes))

    def may_have(self, name: str, batch: str) -> bool:
        """May a table have rows of a batch? False only where the catalog knows that there are none."""
        sql = f"""SELECT {INLINED} AS inlined,
            (SELECT count(*) FROM ({self._divided_by}) d WHERE d.name = 'batch') AS by_batch,
            (SELECT count(*) {self._of_batches} WHERE v.partition_value = $3) AS files"""
        ((inlined, by_batch, files),) = self.ask(sql, [*_parts(name), batch])
        return bool(int(inlined) or not int(by_batch) or int(files))

    def written_bytes(self) -> dict[str, int]:
        """Table -> bytes of the files that the snapshot added to it."""
        sql = f"""SELECT s.schema_name AS schema_name, t.table_name AS table_name, f.size AS size
            FROM (SELECT table_id, sum(file_size_bytes) AS size FROM ducklake_data_file
                WHERE begin_snapshot = {self.snapshot} GROUP BY table_id) f
            JOIN ducklake_table t ON t.table_id = f.table_id AND t.end_snapshot IS NULL
            JOIN ducklake_schema s ON s.schema_id = t.schema_id"""
        return {f"{schema}.{name}": int(size) for schema, name, size in self.ask(sql, [])}

    def _is_by_batch(self, name: str) -> bool:
        """Is the table divided by its column `batch`?"""
        return self.ask(self._divided_by, _parts(name)) == [("batch",)]

    def _is_inlined(self) -> bool:
        ((found,),) = self.ask(f"SELECT {INLINED} AS inlined", [])
        return bool(int(found))

    def _is(self, began: Any, ended: Any) -> bool:
        """Is what began and ended at these snapshots of the snapshot?"""
        if self.snapshot is None:
            return ended is None
        return int(began) <= self.snapshot and (ended is None or int(ended) > self.snapshot)

    def _lives(self, alias: str) -> str:
        """Is a row of the catalog of the snapshot?"""
        if self.snapshot is None:
            return f"{alias}.end_snapshot IS NULL"
        until = f"({alias}.end_snapshot IS NULL OR {alias}.end_snapshot > {self.snapshot})"
        return f"{alias}.begin_snapshot <= {self.snapshot} AND {until}"

    @property
    def _table(self) -> str:
        """The table whose schema and name are $1 and $2."""
        return f"""ducklake_schema s JOIN ducklake_table t ON s.schema_name = $1 AND t.table_name = $2
            AND t.schema_id = s.schema_id AND {self._lives("s")} AND {self._lives("t")}"""

    @property
    def _divided_by(self) -> str:
        """Names of the columns by which the table is divided into files."""
        return f"""SELECT c.column_name AS name
            FROM {self._table} JOIN ducklake_partition_info i ON i.table_id = t.table_id AND i.end_snapshot IS NULL
            JOIN ducklake_partition_column p ON p.partition_id = i.partition_id
            JOIN ducklake_column c
                ON c.table_id = t.table_id AND c.column_id = p.column_id AND c.end_snapshot IS NULL"""

    @property
    def _files(self) -> str:
        return f"FROM {self._table} JOIN ducklake_data_file f ON f.table_id = t.table_id AND {self._lives('f')}"

    @property
    def _of_batches(self) -> str:
        return f"""FROM {self._table} JOIN ducklake_file_partition_value v ON v.table_id = t.table_id
            JOIN ducklake_data_file f ON f.data_file_id = v.data_file_id AND {self._lives("f")}"""

    @property
    def _rows(self) -> str:
        return f"""sum(f.record_count - coalesce((SELECT sum(d.delete_count) FROM ducklake_delete_file d
            WHERE d.data_file_id = f.data_file_id AND {self._lives("d")}), 0))"""


def _parts(name: str) -> list[str]:
    schema, _, table_name = name.partition(".")
    return [schema, table_name]
