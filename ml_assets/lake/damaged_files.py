"""The lake's data files on the disk against what the catalog says of them. Names are `schema.table`."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass

import duckdb

from ml_assets.errors import LakeError
from ml_assets.lake.faults import lake_error, make_again
from ml_assets.lake.storage import Storage

# Living files; f.path is relative to the table's folder, that to the schema's, that to data/.
LIVING = """
    FROM __ducklake_metadata_lake.ducklake_data_file f
    JOIN __ducklake_metadata_lake.ducklake_table t ON t.table_id = f.table_id AND t.end_snapshot IS NULL
    JOIN __ducklake_metadata_lake.ducklake_schema s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
    LEFT JOIN __ducklake_metadata_lake.ducklake_file_partition_value v ON v.data_file_id = f.data_file_id
    WHERE f.end_snapshot IS NULL AND s.schema_name = $schema
"""


class Unreadable(Exception):
    """The rows that a write replaces cannot be read."""

    def __init__(self, table: str) -> None:
        super().__init__(table)
        self.table = table


@dataclass(frozen=True)
class DamagedFile:
    """A data file that is lost, or has another size than it was written with.

    Args:
        what: What is wrong with it.
        fix: The next step.
    """

    table: str
    batch: str | None
    path: str
    what: str
    fix: str

    def __str__(self) -> str:
        of = f"{self.table} {self.batch}" if self.batch else self.table
        return f"a data file of {of} {self.what}: {self.path}. {self.fix}"


def damaged(con: duckdb.DuckDBPyConnection, data: Storage, pipeline: str) -> list[DamagedFile]:
    """Data files of a pipeline that are lost or cut short, by their names and sizes alone; 5 us a file."""
    rows = con.execute(
        f"""SELECT t.table_name, v.partition_value, s.path || t.path || f.path, f.file_size_bytes {LIVING}
        ORDER BY 1, 2, 3""",
        {"schema": pipeline},
    ).fetchall()
    sizes = data.sizes([name for _, _, name, _ in rows], pipeline)
    return [
        DamagedFile(
            f"{pipeline}.{table_name}", batch, f"{data.url}/{name}", what, make_again(pipeline, table_name, batch)
        )
        for table_name, batch, name, size in rows
        if (what := _wrong(sizes.get(name), int(size)))
    ]


def _wrong(there: int | None, size: int) -> str:
    if there is None:
        return "is lost"
    return "" if there == size else f"has {there:,} bytes, and was written with {size:,}"


def end(con: duckdb.DuckDBPyConnection, name: str, batch: str, snapshot: int) -> None:
    """Take the files that a batch had before this snapshot off the table's list, as a DELETE would by reading them.

    The caller has committed the batch's new rows as this snapshot, and holds the write lock. Until this is done, or if
    the process is killed before, reads of the batch fail as they did; making it again ends the files of both.

    Raises:
        LakeError: The catalog cannot be written.
    """
    schema, _, table_name = name.partition(".")
    values = {"schema": schema, "table_name": table_name, "batch": batch, "snapshot": snapshot}
    ids = f"""SELECT f.data_file_id {LIVING} AND t.table_name = $table_name AND v.partition_value = $batch
        AND f.begin_snapshot < $snapshot"""
    try:
        con.execute("BEGIN")
        con.execute(f"CREATE OR REPLACE TEMP TABLE ended_files AS {ids}", values)
        for kind in ("data", "delete"):
            con.execute(
                f"""UPDATE __ducklake_metadata_lake.ducklake_{kind}_file SET end_snapshot = ?
                WHERE end_snapshot IS NULL AND data_file_id IN (FROM ended_files)""",
                [snapshot],
            )
        con.execute("COMMIT")
    except duckdb.Error as error:
        with contextlib.suppress(duckdb.Error):
            con.execute("ROLLBACK")
        rule = "The new rows are written, but the lost files that they replace are still on the table's list."
        raise lake_error(error, rule, table=name, batch=batch) from error


def remove_since(data: Storage, moment: float, tables: Collection[str] = ()) -> None:
    """Remove the data files of a write that failed: half a file would stay, and keep a full disk full.

    For whoever holds the write lock of these tables: the files of all others there are older.

    Args:
        data: The lake's Parquet files.
        moment: When the write began, in seconds since 1970.
        tables: What it wrote, `schema.table`; without any it may have written all.
    """
    with contextlib.suppress(OSError, LakeError):
        for under in [name.replace(".", "/", 1) for name in tables] or [""]:
            for file in data.files(under):
                if file.written_at >= moment:
                    data.remove(file.name)
