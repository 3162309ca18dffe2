"""The lake's catalog in a SQLite file: its creation, attaching it, and what refuses one that was lost.

SQLite's WAL mode lets readers and a writer go on side by side. It is set before the first byte: in a rollback journal
one failed commit locks the catalog for every process until the failing one ends.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import duckdb

from ml_assets.errors import LakeError
from ml_assets.lake import published
from ml_assets.lake.attached import take
from ml_assets.lake.catalog import Connection
from ml_assets.lake.data_files import METADATA, make_indexes
from ml_assets.lake.database import borrow_for
from ml_assets.lake.faults import LOST, NOT_A_LAKE, cause, lake_error, no_lake
from ml_assets.lake.locks import exclusive
from ml_assets.lake.sql import literal
from ml_assets.lake.sqlite_files import (
    CATALOG,
    PUBLIC_CATALOG,
    PUBLISHED,
    RECOVERED,
    database_files,
    largest_snapshot,
    number,
    remove_database,
    rows,
    utc_now,
)
from ml_assets.lake.storage import FolderStorage

RECOVER = "`ml-assets lake recover`"


@dataclass(frozen=True)
class SqliteCatalog:
    """The catalog in `catalog.sqlite` of a folder, with the Parquet files and the locks beside it.

    Args:
        folder: The lake's folder, of a local file system: SQLite's WAL mode needs shared memory.
    """

    folder: Path
    busy_ms: ClassVar[int] = 30_000  # how long SQLite waits for one who holds the file

    @property
    def file(self) -> Path:
        """The SQLite file."""
        return self.folder / CATALOG

    @property
    def public(self) -> Path:
        """Its copy for users who may not write the folder."""
        return self.folder / PUBLIC_CATALOG

    @property
    def data(self) -> FolderStorage:
        """The Parquet files."""
        return FolderStorage(self.folder / "data")

    def exists(self) -> bool:
        """Is there a catalog? One that is missing or empty beside the files of a lake is an error, never a new lake.

        Raises:
            LakeError: The catalog is lost, or this user may not look for it.
        """
        if _size(self.file):
            return True
        if self.public.exists() or next(self.data.files(), None):
            if _size(self.file):  # another process has made it just now
                return True
            raise self._lost("it is empty" if self.file.exists() else "it is missing")
        return False

    def create(self, timeout_s: float) -> None:
        """Make the catalog, unless there is one; it appears whole or not at all."""
        try:
            self.data.make()
        except OSError as error:
            raise lake_error(error, "The lake cannot be created.", self.folder) from error
        with self.write_lock((), timeout_s):
            if self.exists():
                return
            new = self.folder / (CATALOG + ".new")
            remove_database(new)
            database = borrow_for(None, self._spill)
            con = database.cursor()
            try:
                self._attach(con, new, "META_JOURNAL_MODE 'WAL'")
                # Rows inlined into the catalog would reserve the column name row_id.
                con.execute("CALL lake.set_option('data_inlining_row_limit', 0)")
                self.make_indexes(con)
            except duckdb.Error as error:
                database.close()
                raise lake_error(error, "The lake cannot be created.", self.folder, file=new) from error
            Connection(con, database).close()
            remove_database(self.file)  # SQLite would apply the WAL of an earlier one
            new.rename(self.file)

    def connect(self, read_only: bool, memory_limit: str | None, timeout_s: float) -> Connection:
        """A DuckDB connection with the lake attached as `lake`.

        Args:
            read_only: Refuse writes; where this user may not write the folder, the published catalog is read.
            memory_limit: Such as `2GiB`; beyond it DuckDB spills to disk.
            timeout_s: Seconds to wait for the lock, where the catalog must be made.

        Raises:
            LakeError: There is no lake, its catalog is lost, broken or an old copy, or an extension cannot be loaded.
        """
        if not self.exists():
            if read_only:
                raise no_lake(self.folder)
            self.create(timeout_s)
        file = self._readable() if read_only else self.file
        key = (file, self.folder, read_only)
        earlier = take(key, memory_limit, self._spill)
        database = earlier.database if earlier else self._database(memory_limit)
        con = database.cursor()
        try:
            con.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
            inode = file.stat().st_ino
            if earlier is None:
                self._attach(con, file, "CREATE_IF_NOT_EXISTS false", *(["READ_ONLY"] if read_only else []))
            if not read_only:
                self._check_is_newest(con)
        except LakeError:
            database.close()
            raise
        except (duckdb.Error, OSError) as error:
            database.close()
            if NOT_A_LAKE in str(error):
                raise self._lost("it holds no tables of DuckLake") from error
            raise lake_error(error, "The lake's catalog cannot be opened.", self.folder, file=file) from error
        return Connection(con, database, inode, key, earlier)

    def attach(self, con: duckdb.DuckDBPyConnection) -> None:
        """Attach the lake for writing."""
        self._attach(con, self.file, "CREATE_IF_NOT_EXISTS false")

    def ask(self, con: duckdb.DuckDBPyConnection, sql: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        """Rows of a statement over DuckLake's tables."""
        given = f", params => row({', '.join('?::VARCHAR' for _ in values)})" if values else ""
        return con.execute(f"FROM sqlite_query({METADATA}, {literal(sql)}{given})", list(values)).fetchall()

    def make_indexes(self, con: duckdb.DuckDBPyConnection) -> None:
        """The indexes of the statements that `ask` takes, where they are missing."""
        make_indexes(con, "main")

    def is_in_place(self, connection: Connection) -> bool:
        """Is the file that was attached still the catalog?"""
        try:
            return self.file.stat().st_ino == connection.identity
        except FileNotFoundError:
            return False

    def newest_snapshot(self, pipeline: str) -> int | None:
        """Id of the newest snapshot that a pipeline has written, read in about a millisecond.

        None where there is no lake, or nothing of the pipeline in it. Other pipelines' writes do not count.

        Raises:
            LakeError: The catalog is lost or cannot be read.
        """
        if not self.exists():
            return None
        sql = """SELECT snapshot_id FROM ducklake_snapshot_changes WHERE substr(commit_message, 1, length(?1)) = ?1
            ORDER BY snapshot_id DESC LIMIT 1"""
        return number(self._readable(), sql, f"{pipeline}/")

    def newest_snapshots(self, after: int = -1) -> dict[str, int]:
        """Pipeline -> id of its newest snapshot, of those that have written one after `after`."""
        if not self.exists():
            return {}
        sql = """SELECT substr(commit_message, 1, instr(commit_message, '/') - 1), max(snapshot_id)
            FROM ducklake_snapshot_changes
            WHERE snapshot_id > CAST(?1 AS INTEGER) AND instr(commit_message, '/') > 1 GROUP BY 1"""
        return {str(name): int(newest) for name, newest in rows(self._readable(), sql, str(after))}

    def lock(self, name: str, timeout_s: float, doing: str) -> AbstractContextManager[Callable[[], None]]:
        """The lock file of a name, in the folder `locks`; other than letters, digits, `.`, `_` and `-` become `_`."""
        return exclusive(self.folder / "locks" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.lock", timeout_s, doing)

    def write_lock(
        self,
        tables: Collection[str],  # noqa: ARG002 - one lock for all
        timeout_s: float,
    ) -> AbstractContextManager[Callable[[], None]]:
        """The lock of the whole lake: SQLite has one writer at a time, and rejects a second one late."""
        return exclusive(self.folder / (CATALOG + ".lock"), timeout_s, "writing to the lake")

    def is_transient(self, error: BaseException) -> bool:
        """Was it another writer, or one that holds the file? Then SQLite has committed nothing."""
        return cause(error).is_busy

    def settle(self, error: BaseException, token: str) -> int | None:
        """None: where SQLite's COMMIT fails, nothing is committed."""

    def publish(self, timeout_s: float) -> None:
        """Copy the catalog for readers who may not write the folder.

        Raises:
            LakeError: The disk is full, or the copy that is there is newer than the catalog.
        """
        with self.write_lock((), timeout_s):
            published.publish(self.file, self.public)

    def published_snapshot(self) -> int | None:
        """Newest snapshot in the copy; None where there is none.

        Raises:
            LakeError: The copy cannot be read.
        """
        return largest_snapshot(self.public) if self.public.exists() else None

    def export(self, file: Path) -> bool:
        """A copy of the file, page by page."""
        if not _size(self.file):
            return False
        published.copy(self._readable(), file, "delete", {PUBLISHED: utc_now()})
        return True

    def load(self, file: Path, is_recovery: bool = False) -> list[Path]:
        """A copy of the file takes the place of the one that is there, which is renamed."""
        new = self.folder / (CATALOG + ".recovered")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_database(new)
        except OSError as error:
            raise lake_error(error, "The lake cannot be created.", self.folder) from error
        marks = {"data_path": f"{self.data.url}/", **({RECOVERED: utc_now()} if is_recovery else {})}
        published.copy(file, new, "wal", marks)
        aside = self._aside()
        new.rename(self.file)
        return aside

    def _aside(self) -> list[Path]:
        """Rename what is in the catalog's place; SQLite would apply a WAL that it finds there to another file."""
        stamp = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}"
        there = [file for file in database_files(self.file) if file.exists()]
        return [file.rename(file.with_name(f"{file.name}.lost-{stamp}")) for file in there]

    @property
    def _is_writable(self) -> bool:
        return os.access(self.folder, os.W_OK)

    @property
    def _spill(self) -> Path:
        return self.folder.parent / "tmp"

    def _database(self, memory_limit: str | None) -> duckdb.DuckDBPyConnection:
        try:
            return borrow_for(memory_limit, self._spill)
        except duckdb.Error as error:
            raise lake_error(error, "DuckDB cannot be opened for the lake.", self.folder) from error

    def _attach(self, con: duckdb.DuckDBPyConnection, file: Path, *options: str) -> None:
        """Attach a catalog; its Parquet files are beside it, wherever the folder has been moved to."""
        con.execute(
            f"ATTACH {literal(f'ducklake:sqlite:{file}')} AS lake ({', '.join(options)}, "
            f"DATA_PATH {literal(self.data.url)}, OVERRIDE_DATA_PATH true, META_BUSY_TIMEOUT {self.busy_ms})"
        )

    def _readable(self) -> Path:
        """The catalog that this user can read: a WAL catalog cannot be read without write permission."""
        if self._is_writable:
            return self.file
        if not self.public.exists():
            raise LakeError(
                "No copy of the catalog has been published for users who may not write the lake.",
                where={"folder": self.folder},
                fix="It is published when a run of a pipeline has written; ask whoever runs them.",
            )
        return self.public

    def _check_is_newest(self, con: duckdb.DuckDBPyConnection) -> None:
        """Refuse to write by a catalog that is older than its own published copy, or that is such a copy.

        Raises:
            LakeError: Somebody has put an old catalog in place.
        """
        copy = None
        if self.public.exists():
            with contextlib.suppress(LakeError):  # a broken copy is replaced by the next one
                copy = largest_snapshot(self.public)
        newest, copied = con.execute(
            """SELECT (SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot),
                (SELECT max(value) FROM __ducklake_metadata_lake.ducklake_metadata WHERE key = ?)""",
            [PUBLISHED],
        ).fetchall()[0]
        if copied is not None:
            raise LakeError(
                "This catalog is a published copy, which only readers use.",
                found=f"a copy of {copied}",
                where={"file": self.file},
                fix=f"{RECOVER} makes a catalog of it.",
            )
        if copy is not None and copy > newest:
            raise LakeError(
                "This catalog is older than its published copy: the writes in between would be lost.",
                found=f"snapshot {newest}, and snapshot {copy} in the copy",
                where={"file": self.file},
                fix=f"{RECOVER} puts the published copy in its place. "
                f"To go on with the older one, remove {self.public}.",
            )

    def _lost(self, how: str) -> LakeError:
        """The error that names the way back."""
        found, fix = how, "`ml-assets lake recover --from BACKUP` puts a backup of catalog.sqlite in its place."
        if self.public.exists():
            written = dt.datetime.fromtimestamp(self.public.stat().st_mtime, dt.UTC)
            found += f"; {PUBLIC_CATALOG} is a copy of {written:%Y-%m-%d %H:%M} UTC"
            fix = f"{RECOVER} puts the published copy in its place, or with --from a backup."
        return LakeError(
            LOST,
            found=found,
            where={"file": self.file},
            fix=f"{fix} Or move {self.folder} away to begin a new lake.",
        )


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise lake_error(error, "The lake cannot be read.", file.parent, file=file) from error
