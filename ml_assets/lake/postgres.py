"""The lake's catalog in a PostgreSQL database: for pipelines that run on more than one machine.

One database holds one lake's catalog. Locks between runs are advisory locks of the server. The password comes from the
environment (PGPASSWORD, or a file that PGPASSFILE names), or is part of an address that itself came from there.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import duckdb

from ml_assets.errors import LakeBusy, LakeError
from ml_assets.lake.catalog import Connection
from ml_assets.lake.catalog_copy import copy_tables
from ml_assets.lake.data_files import BY_BYTES, METADATA, make_indexes
from ml_assets.lake.database import borrow_for, load_extension
from ml_assets.lake.faults import LOST, NOT_A_LAKE, cause, is_lost_connection, lake_error, no_lake
from ml_assets.lake.postgres_session import CONNECT_S, LockKey, locked, refused, rows, session, shortened
from ml_assets.lake.sql import literal
from ml_assets.lake.sqlite_files import PUBLISHED, RECOVERED, remove_database, utc_now
from ml_assets.lake.storage import Storage, storage_at

RECOVER = (
    "`ml-assets lake recover --from BACKUP` puts back what `ml-assets lake backup` has copied; or restore the database "
    "from a backup of its own (pg_restore)."
)
CREDENTIALS = "lake_catalog"  # the name of a secret of DuckDB
EVERY_TABLE = "lake"
COMMIT_OF = "SELECT snapshot_id FROM ducklake_snapshot_changes WHERE position(%s IN commit_extra_info) > 0"


@dataclass(frozen=True)
class PostgresCatalog:
    """The catalog in the tables `ducklake_*` of a PostgreSQL database.

    Args:
        address: `postgresql://USER@HOST:PORT/DATABASE`, or libpq's `host=... dbname=...`.
        folder: The lake's folder on this machine.
        files: Where the Parquet files are, if not in its folder `data`; a URL, or a folder that all machines mount.
    """

    address: str = field(repr=False)
    folder: Path
    files: str | None = None
    busy_ms: ClassVar[int] = 30_000  # how long a statement waits for one who holds a table

    @property
    def data(self) -> Storage:
        """The Parquet files."""
        return storage_at(self.files or self.folder / "data")

    def exists(self) -> bool:
        """Has the database DuckLake's tables? A database without them beside the files of a lake has lost them.

        Raises:
            LakeError: The catalog is lost, or the server refuses this user.
            LakeBusy: The server cannot be reached.
        """
        with session(self.address) as connection:
            if _is_made(connection):
                return True
        if next(self.data.files(), None):
            raise self._lost("the database has no table ducklake_snapshot")
        return False

    def create(self, timeout_s: float) -> None:
        """Make the catalog's tables unless they exist; DuckLake makes them in one transaction."""
        try:
            self.data.make()
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise lake_error(error, "The lake cannot be created.", self.folder) from error
        with self.write_lock((), timeout_s):
            if self.exists():
                return
            database = self._database(None)
            con = database.cursor()
            try:
                self._attach(con)
                self.make_indexes(con)
            except duckdb.Error as error:
                database.close()
                raise lake_error(error, "The lake cannot be created.", self.folder) from error
            Connection(con, database).close()

    def connect(self, read_only: bool, memory_limit: str | None, timeout_s: float) -> Connection:
        """A DuckDB connection with the lake attached as `lake`.

        Args:
            read_only: Refuse writes; the user may be one that may only SELECT.
            memory_limit: Such as `2GiB`; beyond it DuckDB spills to disk.
            timeout_s: Seconds to wait for the lock, where the catalog must be made.

        Raises:
            LakeError: There is no lake, its catalog is lost or broken, or an extension cannot be loaded.
            LakeBusy: The server cannot be reached, or another session holds the tables.
        """
        until = time.monotonic() + CONNECT_S
        while True:
            try:
                return self._connected(read_only, memory_limit, timeout_s)
            except LakeBusy as error:
                if not is_lost_connection(error) or time.monotonic() > until:
                    raise
            time.sleep(0.1)

    def _connected(self, read_only: bool, memory_limit: str | None, timeout_s: float) -> Connection:
        if not self.exists():
            if read_only:
                raise no_lake(self.folder)
            self.create(timeout_s)
        database = self._database(memory_limit)
        con = database.cursor()
        try:
            con.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
            self._attach(con, "CREATE_IF_NOT_EXISTS false", *(["READ_ONLY"] if read_only else []))
        except duckdb.Error as error:
            database.close()
            if NOT_A_LAKE in str(error):
                raise self._lost("it holds no tables of DuckLake") from error
            raise lake_error(error, "The lake's catalog cannot be opened.", self.folder) from error
        return Connection(con, database)

    def attach(self, con: duckdb.DuckDBPyConnection) -> None:
        """Attach the lake for writing."""
        self._attach(con, "CREATE_IF_NOT_EXISTS false")

    def ask(self, con: duckdb.DuckDBPyConnection, sql: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        """Rows of a statement over DuckLake's tables."""
        # DuckDB copies what it asks, and COPY takes no parameters.
        sql = sql.replace(f"COLLATE {BY_BYTES}", 'COLLATE "C"')
        text = re.sub(r"\$(\d+)", lambda mark: _text(values[int(mark[1]) - 1]), sql)
        return con.execute(f"FROM postgres_query({METADATA}, {literal(text)})").fetchall()

    def make_indexes(self, con: duckdb.DuckDBPyConnection) -> None:
        """The indexes of the statements that `ask` takes, where they are missing."""
        make_indexes(con, "public")

    def is_in_place(self, connection: Connection) -> bool:  # noqa: ARG002 - the protocol's signature
        """Always: a database cannot be replaced below a connection."""
        return True

    def newest_snapshot(self, pipeline: str) -> int | None:
        """Id of the newest snapshot that a pipeline has written, read in a few milliseconds."""
        sql = """SELECT snapshot_id FROM ducklake_snapshot_changes WHERE left(commit_message, length(%s)) = %s
            ORDER BY snapshot_id DESC LIMIT 1"""
        found = self._rows(sql, [f"{pipeline}/"] * 2)
        return int(found[0][0]) if found else None

    def newest_snapshots(self, after: int = -1) -> dict[str, int]:
        """Pipeline -> id of its newest snapshot, of those that have written one after `after`."""
        sql = """SELECT split_part(commit_message, '/', 1), max(snapshot_id) FROM ducklake_snapshot_changes
            WHERE snapshot_id > %s AND position('/' IN commit_message) > 1 GROUP BY 1"""
        return {str(name): int(newest) for name, newest in self._rows(sql, [after])}

    def lock(self, name: str, timeout_s: float, doing: str) -> AbstractContextManager[Callable[[], None]]:
        """The advisory lock of a name."""
        return locked(self.address, [LockKey(f"name {name}")], timeout_s, doing)

    def write_lock(self, tables: Collection[str], timeout_s: float) -> AbstractContextManager[Callable[[], None]]:
        """One lock for each table, in the order of their names; without tables one that excludes all writers."""
        keys = [
            LockKey(EVERY_TABLE, is_shared=bool(tables)),
            *(LockKey(f"table {name}") for name in sorted(set(tables))),
        ]
        return locked(self.address, keys, timeout_s, "writing to the lake")

    def is_transient(self, error: BaseException) -> bool:
        """Was it another writer, or a connection that was lost before COMMIT?"""
        return cause(error).is_busy

    def settle(self, error: BaseException, token: str) -> int | None:
        """The snapshot of a commit whose answer was lost.

        The session that sent it is ended first, so that nothing can be committed after the look.
        """
        if not is_lost_connection(error):
            return None
        until = time.monotonic() + self.busy_ms / 1000
        while True:
            try:
                with session(self.address) as connection:
                    while not _ended(connection, self._application):
                        time.sleep(0.02)
                    found = rows(connection, COMMIT_OF, [token])
                    return int(found[0][0]) if found else None
            except LakeError as unreachable:
                if time.monotonic() > until:
                    raise LakeError(
                        "The connection was lost during a commit, and the server does not come back: "
                        "nobody can tell yet whether it is written.",
                        found=unreachable.found,
                        fix="Start the server, then run the same command again: a batch that is written is replaced.",
                    ) from error
            time.sleep(0.2)

    def publish(self, timeout_s: float) -> None:
        """Nothing: readers read the catalog itself, as a user that may only SELECT."""

    def published_snapshot(self) -> int | None:
        """The newest one: all readers read the catalog itself."""
        found = self._rows("SELECT max(snapshot_id) FROM ducklake_snapshot")
        return int(found[0][0]) if found and found[0][0] is not None else None

    def export(self, file: Path) -> bool:
        """A SQLite catalog with the rows that one transaction sees."""
        with session(self.address) as connection:
            if not _is_made(connection):
                return False
        remove_database(file)
        with self._attached(file) as con:
            con.execute("BEGIN")
            copy_tables(con, "server", "copied")
            con.execute("INSERT INTO copied.ducklake_metadata (key, value) VALUES (?, ?)", [PUBLISHED, utc_now()])
            con.execute("COMMIT")
        return True

    def load(self, file: Path, is_recovery: bool = False) -> list[Path]:
        """The rows of a copy take the place of all that are there, in one transaction."""
        database = self._database(None)
        con = database.cursor()
        try:
            self._attach(con)  # makes the tables where they are missing
            self.make_indexes(con)
        except duckdb.Error as error:
            database.close()
            raise lake_error(error, "The lake cannot be created.", self.folder) from error
        Connection(con, database).close()
        with self._attached(file) as con:
            con.execute("BEGIN")
            copy_tables(con, "copied", "server")
            con.execute("DELETE FROM server.ducklake_metadata WHERE key IN (?, 'data_path')", [PUBLISHED])
            marks = [("data_path", f"{self.data.url}/")]
            if is_recovery:
                marks.append((RECOVERED, utc_now()))
            for mark in marks:
                con.execute("INSERT INTO server.ducklake_metadata (key, value) VALUES (?, ?)", mark)
            con.execute("COMMIT")
        return []

    @contextlib.contextmanager
    def _attached(self, file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        """The catalog as `server`, and as `copied` one in a SQLite file, which is made where it is missing."""
        database = self._database(None)
        con = database.cursor()
        try:
            con.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
            if not file.exists():
                con.execute(f"ATTACH {literal(f'ducklake:sqlite:{file}')} AS made (DATA_PATH {literal(self.data.url)})")
                con.execute("DETACH made")
            con.execute(f"ATTACH {literal(str(file))} AS copied (TYPE sqlite)")
            con.execute(f"ATTACH {literal(self._dsn(con))} AS server (TYPE postgres, SECRET {CREDENTIALS})")
            yield con
        except duckdb.Error as error:
            raise lake_error(error, "The lake's catalog cannot be copied.", self.folder, copy=file) from error
        finally:
            con.close()
            database.close()  # with what is attached

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query over the catalog's tables; none where there is no lake."""
        with session(self.address, lock_timeout=str(self.busy_ms)) as connection:
            if _is_made(connection):
                return rows(connection, sql, values)
        self.exists()  # files without their catalog are an error
        return []

    @cached_property
    def _parts(self) -> dict[str, str]:
        from psycopg2 import ProgrammingError
        from psycopg2.extensions import parse_dsn

        try:
            return dict(parse_dsn(self.address))
        except ProgrammingError as error:
            raise refused(self.address) from error

    @property
    def _application(self) -> str:
        """The name of this thread's sessions of DuckDB: it tells them from all others at the server."""
        return shortened(f"ml_assets {threading.get_ident()} {os.getpid()} {socket.gethostname()}")

    def _database(self, memory_limit: str | None) -> duckdb.DuckDBPyConnection:
        try:
            database = borrow_for(memory_limit, self.folder.parent / "tmp")
        except duckdb.Error as error:
            raise lake_error(error, "DuckDB cannot be opened for the lake.", self.folder) from error
        load_extension(database, "postgres_scanner")
        self.data.prepare(database)
        return database

    def _attach(self, con: duckdb.DuckDBPyConnection, *options: str) -> None:
        """Attach the lake."""
        settings = [*options, f"META_SECRET {literal(CREDENTIALS)}", "DATA_INLINING_ROW_LIMIT 0"]
        con.execute(
            f"ATTACH {literal(f'ducklake:postgres:{self._dsn(con)}')} AS lake ({', '.join(settings)}, "
            f"DATA_PATH {literal(self.data.url)}, OVERRIDE_DATA_PATH true)"
        )

    def _dsn(self, con: duckdb.DuckDBPyConnection) -> str:
        """The address for DuckDB; the password goes by a secret, so that no statement and no error holds it."""
        parts = {**self._parts, "application_name": self._application, "connect_timeout": "10"}
        parts["options"] = f"{parts.get('options', '')} -c lock_timeout={self.busy_ms}".strip()
        password = parts.pop("password", None)
        fields = f", PASSWORD {literal(password)}" if password else ""
        con.execute(f"CREATE OR REPLACE TEMPORARY SECRET {CREDENTIALS} (TYPE postgres{fields})")
        return " ".join(f"{key}={_quoted(value)}" for key, value in parts.items())

    def _lost(self, how: str) -> LakeError:
        return LakeError(LOST, found=how, where={"folder": self.folder}, fix=RECOVER)


def _is_made(connection: object) -> bool:
    """Has the database DuckLake's tables?"""
    return bool(rows(connection, "SELECT to_regclass('ducklake_snapshot') IS NOT NULL")[0][0])


def _ended(connection: object, application: str) -> bool:
    """Are the sessions of this name gone? Those that are not are ended."""
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
    return not rows(connection, sql, [application])


def _text(value: str) -> str:
    """A text as PostgreSQL's SQL has it, whatever the server's settings."""
    return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _quoted(value: str) -> str:
    """A value of libpq's connection string."""
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
