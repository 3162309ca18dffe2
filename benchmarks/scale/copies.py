"""Copies of one ingested batch in a lake: files and rows of the catalog, as if each copy had been ingested by itself.

Through the lake's own writes, ten thousand copies would take an hour. A copy's data files are those of the batch with
another name and hash in them, byte by byte: so they are written without compression. Nothing is read or written again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEWEST = "SELECT * FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1"
EVERY = dt.timedelta(hours=1)  # how long after each other the copies were written
Words = Mapping[str, str]  # what a copy says instead of what the batch says


@dataclass(frozen=True)
class DataFile:
    """A data file of the batch.

    Args:
        row: Its row of the catalog.
        columns: Rows of its statistics.
        partition: Its row of `ducklake_file_partition_value`.
        content: Its bytes.
        folder: The table's folder, to which its path is relative.
    """

    row: dict[str, Any]
    columns: list[dict[str, Any]]
    partition: dict[str, Any]
    content: bytes
    folder: Path


def add(lake: Path, batch: str, copies: Sequence[Words], until: dt.datetime) -> None:
    """Add copies of a batch to a lake that nobody has opened.

    Args:
        lake: Its folder.
        batch: The batch.
        copies: For each copy, text of the batch's files -> text of the same length: its name, its file, its hash.
        until: When the last one was written; those before it at equal intervals.
    """
    with contextlib.closing(sqlite3.connect(lake / "catalog.sqlite")) as con, con:
        con.row_factory = sqlite3.Row
        snapshots = _rows(
            con,
            "SELECT c.* FROM ducklake_snapshot_changes c "
            "WHERE json_extract(commit_extra_info, '$.batch') = ? ORDER BY snapshot_id",
            batch,
        )
        files = list(_files(con, lake / "data", batch))
        (newest,) = _rows(con, NEWEST)
        made = _Made(newest, [one["snapshot_id"] for one in snapshots])
        for later, words in zip(range(len(copies) - 1, -1, -1), copies, strict=True):
            moment = until - later * EVERY
            for one in snapshots:
                extra = {**json.loads(one["commit_extra_info"]), "batch": words[batch]}
                if "read_at" in extra:
                    extra["read_at"] = made.newest["snapshot_id"]
                made.snapshot({**one, "commit_extra_info": json.dumps(extra)}, moment)
            for file in files:
                made.file(file, words)
        made.write(con)


class _Made:
    """Rows of the catalog that are to be added."""

    def __init__(self, newest: dict[str, Any], snapshots: Sequence[int]) -> None:
        self.newest, self.like = newest, snapshots
        self.first_file = self.next_file = newest["next_file_id"]
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.ids: dict[int, int] = {}  # a snapshot of the batch -> the last copy's
        self.totals: dict[int, list[int]] = {}  # table -> rows, bytes
        self.limits: dict[tuple[int, int], tuple[str, str]] = {}  # table and column -> least and greatest value

    def snapshot(self, change: dict[str, Any], moment: dt.datetime) -> None:
        """A snapshot of a copy."""
        said = f"{moment:%Y-%m-%d %H:%M:%S.%f}+00"
        self.newest = {**self.newest, "snapshot_id": self.newest["snapshot_id"] + 1, "snapshot_time": said}
        self.ids[change["snapshot_id"]] = self.newest["snapshot_id"]
        self._add("ducklake_snapshot", self.newest)
        self._add("ducklake_snapshot_changes", {**change, "snapshot_id": self.newest["snapshot_id"]})

    def file(self, file: DataFile, words: Words) -> None:
        """A data file of a copy."""
        path = _said(file.row["path"], words).replace("ducklake-", f"copy-{self.next_file}-")
        target, content = file.folder / path, file.content
        for before, after in words.items():
            content = content.replace(before.encode(), after.encode())
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
        new, table = {"data_file_id": self.next_file}, file.row["table_id"]
        totals = self.totals.setdefault(table, [0, 0])
        begin = self.ids[file.row["begin_snapshot"]]
        row = {**file.row, **new, "path": path, "begin_snapshot": begin, "row_id_start": totals[0]}
        self._add("ducklake_data_file", row)
        self._add(
            "ducklake_file_partition_value",
            {**file.partition, **new, "partition_value": _said(file.partition["partition_value"], words)},
        )
        for column in file.columns:
            low, high = (_said(column[name], words) for name in ("min_value", "max_value"))
            self._add("ducklake_file_column_stats", {**column, **new, "min_value": low, "max_value": high})
            if (low, high) != (column["min_value"], column["max_value"]):
                known = self.limits.get((table, column["column_id"]), (low, high))
                self.limits[table, column["column_id"]] = min(known[0], low), max(known[1], high)
        totals[0] += file.row["record_count"]
        totals[1] += file.row["file_size_bytes"]
        self.next_file += 1

    def write(self, con: sqlite3.Connection) -> None:
        """Add the rows, and what the catalog says of whole tables."""
        for row in self.rows["ducklake_snapshot"]:
            row["next_file_id"] = self.next_file
        for table, (rows, size) in self.totals.items():
            (next_row,) = con.execute("SELECT next_row_id FROM ducklake_table_stats WHERE table_id = ?", (table,))
            for row in self.rows["ducklake_data_file"]:
                if row["table_id"] == table:
                    row["row_id_start"] += next_row[0]
            con.execute(
                "UPDATE ducklake_table_stats SET record_count = record_count + ?, next_row_id = next_row_id + ?, "
                "file_size_bytes = file_size_bytes + ? WHERE table_id = ?",
                (rows, rows, size, table),
            )
        for (table, column), (low, high) in self.limits.items():
            con.execute(
                "UPDATE ducklake_table_column_stats SET min_value = min(min_value, ?), max_value = max(max_value, ?) "
                "WHERE table_id = ? AND column_id = ?",
                (low, high, table, column),
            )
        for name, rows_of in self.rows.items():
            con.executemany(
                f"INSERT INTO {name} ({', '.join(rows_of[0])}) VALUES ({', '.join('?' * len(rows_of[0]))})",
                (tuple(row.values()) for row in rows_of),
            )

    def _add(self, table: str, row: dict[str, Any]) -> None:
        self.rows.setdefault(table, []).append(row)


def _said(text: str | None, words: Words) -> Any:
    """A text of the catalog as a copy says it."""
    for before, after in words.items():
        if text is not None and before in text:
            return text.replace(before, after)
    return text


def _files(con: sqlite3.Connection, data: Path, batch: str) -> Iterator[DataFile]:
    """The living data files of a batch."""
    living = _rows(
        con,
        "SELECT f.*, s.path AS schema_path, t.path AS table_path FROM ducklake_data_file f "
        "JOIN ducklake_file_partition_value v USING (data_file_id) "
        "JOIN ducklake_table t ON t.table_id = f.table_id JOIN ducklake_schema s USING (schema_id) "
        "WHERE v.partition_value = ? AND f.end_snapshot IS NULL AND t.end_snapshot IS NULL",
        batch,
    )
    for row in living:
        folder = data / row.pop("schema_path") / row.pop("table_path")
        columns = _rows(con, "SELECT * FROM ducklake_file_column_stats WHERE data_file_id = ?", row["data_file_id"])
        (partition,) = _rows(
            con, "SELECT * FROM ducklake_file_partition_value WHERE data_file_id = ?", row["data_file_id"]
        )
        yield DataFile(row, columns, partition, _without_filters(folder / row["path"]), folder)


def _without_filters(file: Path) -> bytes:
    """A Parquet file whose Bloom filters let every value pass: those of the batch would deny the copies' names."""
    import duckdb

    content = bytearray(file.read_bytes())
    found = duckdb.execute("SELECT bloom_filter_offset, bloom_filter_length FROM parquet_metadata(?)", [str(file)])
    for offset, length in found.fetchall():
        if offset is not None:
            bits = length // 32 * 32  # behind a header of fewer bytes
            content[offset + length - bits : offset + length] = b"\xff" * bits
    return bytes(content)


def _rows(con: sqlite3.Connection, sql: str, *values: object) -> list[dict[str, Any]]:
    return [dict(row) for row in con.execute(sql, values)]
