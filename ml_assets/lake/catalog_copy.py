"""A catalog's copy in a SQLite file: what it says of the lake's files, and how it gets into a PostgreSQL database.

DuckLake's tables have the same names and columns on SQLite and PostgreSQL; types differ (a UUID, a moment and a truth
value are a text and a number on SQLite), and DuckDB casts them on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from ml_assets.errors import LakeError
from ml_assets.lake.database import borrow_for, release
from ml_assets.lake.sql import identifier, identifiers, literal
from ml_assets.lake.sqlite_files import PUBLISHED, RECOVERED, rows

DATA = "lake/data"  # where a project's Parquet files are, below all that it copies
OURS = (PUBLISHED, RECOVERED, "data_path")  # keys of ducklake_metadata that differ from copy to copy
# Names the tables of rows that are in the catalog itself. An empty one is left behind: DuckLake makes it again.
INLINED = "ducklake_inlined_data_tables"
TABLES = "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND starts_with(table_name, 'ducklake_')"
NAMED = """
    SELECT s.path || t.path || f.path, f.path_is_relative AND t.path_is_relative AND s.path_is_relative,
        s.schema_name || '.' || t.table_name, v.partition_value, f.file_size_bytes, f.begin_snapshot, f.end_snapshot,
        f.{rows}
    FROM ducklake_{kind}_file f
    JOIN (SELECT *, max(begin_snapshot) FROM ducklake_table GROUP BY table_id) t ON t.table_id = f.table_id
    JOIN ducklake_schema s ON s.schema_id = t.schema_id
    LEFT JOIN ducklake_file_partition_value v ON v.data_file_id = f.data_file_id AND v.partition_key_index = 0
    ORDER BY 3, 4, 1"""


@dataclass(frozen=True)
class DataFile:
    """A file that the catalog names.

    Args:
        name: Relative to the project's data folder.
        table: `schema.table`.
        batch: Its partition; None where the table has none.
        size: Bytes that were written.
        begin: The snapshot that added it.
        end: The snapshot that took it away; None while it is part of the newest one.
        rows: Rows in it.
        is_data: It has rows; otherwise it lists deleted ones.
    """

    name: str
    table: str
    batch: str | None
    size: int
    begin: int
    end: int | None
    rows: int
    is_data: bool


@dataclass(frozen=True)
class Standing:
    """Which lake a catalog is of, and how far it has come.

    Args:
        lake: The id that DuckLake gave it when it was made.
        snapshots: Id -> moment of every snapshot that is kept.
    """

    lake: str
    snapshots: dict[int, str]

    @property
    def newest(self) -> int:
        return max(self.snapshots)

    @property
    def is_empty(self) -> bool:
        """Was nothing ever written?"""
        return self.newest == 0

    def is_later_state_of(self, other: Standing) -> bool:
        """Is it what became of the other one: the same lake, and no write of the other's is unknown here?"""
        both = self.snapshots.keys() & other.snapshots.keys()
        return (
            self.lake == other.lake
            and other.newest <= self.newest
            and all(self.snapshots[one] == other.snapshots[one] for one in both)
        )


def standing(copy: Path) -> Standing:
    """Which lake a copy is of."""
    (lake,) = rows(copy, "SELECT schema_uuid FROM ducklake_schema WHERE schema_id = 0")
    found = rows(copy, "SELECT snapshot_id, snapshot_time FROM ducklake_snapshot")
    return Standing(str(lake[0]), {int(number): str(moment) for number, moment in found})


def data_files(copy: Path) -> list[DataFile]:
    """Every file that any living snapshot needs.

    Raises:
        LakeError: The catalog names a file outside of the lake's folder.
    """
    found = []
    for kind, counted in (("data", "record_count"), ("delete", "delete_count")):
        for name, is_relative, table, batch, size, begin, end, count in rows(
            copy, NAMED.format(kind=kind, rows=counted)
        ):
            if not is_relative:
                raise LakeError("A data file is outside of the lake's folder.", where={"table": table, "file": name})
            found.append(
                DataFile(
                    f"{DATA}/{name}", table, batch, int(size), int(begin), end and int(end), int(count), kind == "data"
                )
            )
    return found


def copy_tables(con: duckdb.DuckDBPyConnection, source: str, target: str) -> None:
    """Put the rows of all of DuckLake's tables of an attached database into those of another, within a transaction."""
    known = [name for (name,) in con.execute(TABLES, [target]).fetchall()]
    for (name,) in con.execute(TABLES, [source]).fetchall():
        if name not in known:
            if con.execute(f"SELECT 1 FROM {source}.{identifier(name)} LIMIT 1").fetchall():
                raise LakeError(
                    "The catalog has a table that cannot be copied: rows of the lake are in the catalog itself.",
                    found=name,
                    fix="Write them to files first: `CALL ducklake_flush_inlined_data('lake')` in DuckDB.",
                )
            continue
        columns = con.execute(
            "SELECT column_name FROM duckdb_columns() WHERE database_name = ? AND table_name = ? ORDER BY column_index",
            [source, name],
        ).fetchall()
        names = identifiers([column for (column,) in columns])
        con.execute(f"DELETE FROM {target}.{identifier(name)}")
        into, sql = f"INSERT INTO {target}.{identifier(name)} ({names})", f"FROM {source}.{identifier(name)}"
        if name == INLINED:
            con.execute(f"{into} SELECT {names} {sql} WHERE list_contains(?, table_name)", [known])
        else:
            con.execute(f"{into} SELECT {names} {sql}")


def difference(one: Path, other: Path) -> list[str]:
    """Tables whose rows are not the same in two copies, but for what each copy says of itself."""
    database = borrow_for(None, one.parent)
    con = database.cursor()
    try:
        for name, file in (("one", one), ("other", other)):
            con.execute(f"ATTACH {literal(str(file))} AS {name} (TYPE sqlite, READ_ONLY)")
        found = []
        names = [{name for (name,) in con.execute(TABLES, [side]).fetchall()} for side in ("one", "other")]
        for name in sorted(names[0] & names[1] - {INLINED}):
            where = f" WHERE key NOT IN {OURS}" if name == "ducklake_metadata" else ""
            sides = [f"FROM {side}.{identifier(name)}{where}" for side in ("one", "other")]
            one_sided = [f"(({left}) EXCEPT ALL ({right}))" for left, right in (sides, sides[::-1])]
            sql = f"SELECT count(*) FROM ({' UNION ALL '.join(one_sided)})"
            if con.execute(sql).fetchall()[0][0]:
                found.append(name)
        con.execute("DETACH one; DETACH other")
        return found
    finally:
        con.close()
        release(database)
