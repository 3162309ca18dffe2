"""Connections to the lake: the catalog's creation, attaching it, and what refuses a catalog that was lost.

SQLite's WAL mode lets readers and a writer go on side by side. It is set before the first byte: in a rollback journal
one failed commit locks the catalog for every process until the failing one ends.

Only DuckDB's SQLite opens the catalog in this process. When a second library (Python's) closes the file, or any code
closes a descriptor of it, the kernel drops the locks of the first one: https://sqlite.org/howtocorrupt.html, 2.2.1.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ml_assets.errors import LakeError
from ml_assets.lake.causes import ENV_MEMORY as ENV_MEMORY
from ml_assets.lake.causes import NOT_A_LAKE, lake_error
from ml_assets.lake.database import borrow_for, give_back, sqlite_file
from ml_assets.lake.database import scratch as scratch
from ml_assets.lake.locks import exclusive
from ml_assets.lake.sql import literal

CATALOG = "catalog.sqlite"
PUBLIC_CATALOG = "public.sqlite"
# Keys of ours in the catalog's table ducklake_metadata; each holds the moment.
PUBLISHED, RECOVERED = "ml_assets_published_at", "ml_assets_recovered_at"
RECOVER = "`ml-assets lake recover`"


@dataclass(frozen=True)
class Connection:
    """A connection to the lake, and the database in memory that it alone uses.

    Args:
        con: The connection; the lake is attached as `lake`.
        database: Where the extensions are loaded and the lake is attached.
        inode: Of the catalog's file when it was attached.
    """

    con: duckdb.DuckDBPyConnection
    database: duckdb.DuckDBPyConnection
    inode: int = 0

    def is_in_place(self, catalog: Path) -> bool:
        """Is the file that was attached still the catalog?"""
        try:
            return catalog.stat().st_ino == self.inode
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close it; its database waits for the next one. Temporary tables and variables end with the connection."""
        self.con.close()
        try:
            self.database.execute("DETACH lake")
            give_back(self.database)
        except duckdb.Error:
            self.database.close()  # somebody still reads through another cursor


def connect(folder: Path, read_only: bool, memory_limit: str | None, lock_timeout_s: float) -> Connection:
    """A DuckDB connection with the lake attached as `lake`.

    Args:
        folder: Folder of the catalog and the Parquet files.
        read_only: Refuse writes; where this user may not write the folder, the published catalog is read.
        memory_limit: Such as `2GiB`; beyond it DuckDB spills to disk.
        lock_timeout_s: Seconds to wait for the lock, where the catalog must be made.

    Raises:
        LakeError: There is no lake, its catalog is lost, broken or an old copy, or an extension cannot be loaded.
    """
    if not has_catalog(folder):
        if read_only:
            raise LakeError(
                "There is no lake yet.", where={"folder": folder}, fix="Materialize an asset first, see README."
            )
        create_catalog(folder, lock_timeout_s)
    catalog = _readable(folder) if read_only else folder / CATALOG
    database = borrow_for(memory_limit, folder.parent / "tmp")
    con = database.cursor()
    con.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
    try:
        inode = catalog.stat().st_ino
        attach(con, catalog, read_only)
        if not read_only:
            _check_is_newest(con, folder)
    except LakeError:
        database.close()
        raise
    except duckdb.Error as error:
        database.close()
        if NOT_A_LAKE in str(error):
            raise _lost(folder, "it holds no tables of DuckLake") from error
        raise lake_error(error, "The lake's catalog cannot be opened.", folder, file=catalog) from error
    return Connection(con, database, inode)


def attach(con: duckdb.DuckDBPyConnection, catalog: Path, read_only: bool = False, create: bool = False) -> None:
    """Attach a catalog as `lake`; its Parquet files lie beside it, wherever the folder has been moved to.

    Args:
        con: Connection of a database with the extensions.
        catalog: The SQLite file.
        read_only: Refuse writes.
        create: Make the catalog, in WAL mode. A file without DuckLake's tables is refused otherwise.
    """
    options = ["READ_ONLY"] if read_only else []
    options += ["META_JOURNAL_MODE 'WAL'"] if create else ["CREATE_IF_NOT_EXISTS false"]
    con.execute(
        f"ATTACH {literal(f'ducklake:sqlite:{catalog}')} AS lake ({', '.join(options)}, "
        f"DATA_PATH {literal(str(catalog.parent / 'data'))}, OVERRIDE_DATA_PATH true, META_BUSY_TIMEOUT 30000)"
    )


def has_catalog(folder: Path) -> bool:
    """Is there a catalog? One that is missing or empty beside the files of a lake is an error, never a new lake.

    Raises:
        LakeError: The catalog is lost, or this user may not look for it.
    """
    catalog = folder / CATALOG
    if _size(catalog):
        return True
    if (folder / PUBLIC_CATALOG).exists() or next((folder / "data").rglob("*.parquet"), None):
        if _size(catalog):  # another process has made it just now
            return True
        raise _lost(folder, "it is empty" if catalog.exists() else "it is missing")
    return False


def create_catalog(folder: Path, lock_timeout_s: float) -> None:
    """Make the catalog, unless there is one; it appears whole or not at all."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with catalog_lock(folder, lock_timeout_s):
        if has_catalog(folder):
            return
        new = folder / (CATALOG + ".new")
        remove_database(new)
        database = borrow_for(None, folder.parent / "tmp")
        con = database.cursor()
        try:
            attach(con, new, create=True)
            # Rows inlined into the catalog would reserve the column name row_id.
            con.execute("CALL lake.set_option('data_inlining_row_limit', 0)")
        except duckdb.Error as error:
            database.close()
            raise lake_error(error, "The lake cannot be created.", folder, file=new) from error
        Connection(con, database).close()
        remove_database(folder / CATALOG)  # SQLite would apply the WAL of an earlier one
        new.rename(folder / CATALOG)


def remove_database(file: Path) -> None:
    """Remove a SQLite file with its WAL and index."""
    for name in database_files(file):
        name.unlink(missing_ok=True)


def database_files(file: Path) -> list[Path]:
    """A SQLite file, its WAL and its index; not all of them need exist."""
    return [file.with_name(file.name + suffix) for suffix in ("", "-wal", "-shm")]


def newest_snapshot(folder: Path, pipeline: str) -> int | None:
    """Id of the newest snapshot that a pipeline has written, read in about a millisecond.

    None where there is no lake, or nothing of the pipeline in it. Other pipelines' writes do not count.

    Raises:
        LakeError: The catalog is lost or cannot be read.
    """
    if not has_catalog(folder):
        return None
    sql = """SELECT snapshot_id FROM ducklake_snapshot_changes WHERE substr(commit_message, 1, length(?1)) = ?1
        ORDER BY snapshot_id DESC LIMIT 1"""
    return number(_readable(folder), sql, f"{pipeline}/")


def largest_snapshot(catalog: Path) -> int | None:
    """Id of the newest snapshot in a catalog or a copy of one.

    Raises:
        LakeError: It cannot be read.
    """
    return number(catalog, "SELECT max(snapshot_id) FROM ducklake_snapshot")


def number(catalog: Path, sql: str, value: str | None = None) -> int | None:
    """The one number that SQLite's SQL gives on a catalog; None where it gives none. `value` is its parameter ?1.

    Raises:
        LakeError: The catalog cannot be read.
    """
    call = "FROM sqlite_query('file', ?)" if value is None else "FROM sqlite_query('file', ?, params => ?)"
    try:
        with sqlite_file(catalog) as con:
            rows = con.execute(call, [sql] if value is None else [sql, {"value": value}]).fetchall()
    except duckdb.Error as error:
        raise lake_error(error, "The lake's catalog cannot be read.", catalog.parent, file=catalog) from error
    return int(rows[0][0]) if rows and rows[0][0] is not None else None


def catalog_lock(folder: Path, timeout_s: float) -> contextlib.AbstractContextManager[None]:
    """The write lock of the whole lake."""
    return exclusive(folder / (CATALOG + ".lock"), timeout_s, "writing to the lake")


def _readable(folder: Path) -> Path:
    """The catalog that this user can read: a WAL catalog cannot be read without write permission."""
    if os.access(folder, os.W_OK):
        return folder / CATALOG
    if not (folder / PUBLIC_CATALOG).exists():
        raise LakeError(
            "No copy of the catalog has been published for users who may not write the lake.",
            where={"folder": folder},
            fix="It is published when a run of a pipeline has written; ask whoever runs them.",
        )
    return folder / PUBLIC_CATALOG


def _check_is_newest(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Refuse to write by a catalog that is older than its own published copy, or that is such a copy.

    Raises:
        LakeError: Somebody has put an old catalog in place.
    """
    public, published = folder / PUBLIC_CATALOG, None
    if public.exists():
        with contextlib.suppress(LakeError):  # a broken copy is replaced by the next one
            published = largest_snapshot(public)
    newest, copied = con.execute(
        """SELECT (SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot),
            (SELECT max(value) FROM __ducklake_metadata_lake.ducklake_metadata WHERE key = ?)""",
        [PUBLISHED],
    ).fetchall()[0]
    if copied is not None:
        raise LakeError(
            "This catalog is a published copy, which only readers use.",
            found=f"a copy of {copied}",
            where={"file": folder / CATALOG},
            fix=f"{RECOVER} makes a catalog of it.",
        )
    if published is not None and published > newest:
        raise LakeError(
            "This catalog is older than its published copy: the writes in between would be lost.",
            found=f"snapshot {newest}, and snapshot {published} in the copy",
            where={"file": folder / CATALOG},
            fix=f"{RECOVER} puts the published copy in its place. To go on with the older one, remove {public}.",
        )


def _lost(folder: Path, how: str) -> LakeError:
    """The error that names the way back."""
    public = folder / PUBLIC_CATALOG
    found, fix = how, "`ml-assets lake recover --from BACKUP` puts a backup of catalog.sqlite in its place."
    if public.exists():
        written = dt.datetime.fromtimestamp(public.stat().st_mtime, dt.UTC)
        found += f"; {PUBLIC_CATALOG} is a copy of {written:%Y-%m-%d %H:%M} UTC"
        fix = f"{RECOVER} puts the published copy in its place, or with --from a backup."
    return LakeError(
        "The lake's catalog is lost: its files are there, but nothing tells which of them hold what.",
        found=found,
        where={"file": folder / CATALOG},
        fix=f"{fix} Or move {folder} away to begin a new lake.",
    )


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise lake_error(error, "The lake cannot be read.", file.parent, file=file) from error
