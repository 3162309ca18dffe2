"""Copies of the catalog: the published one for users who may not write the lake, and the way back from one.

A copy is made by a process of its own (sqlite_copy.py): 20 ms, and 4 ms more for each megabyte of the catalog.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ml_assets.errors import LakeBusy, LakeError
from ml_assets.lake.causes import lake_error
from ml_assets.lake.sqlite import (
    CATALOG,
    PUBLIC_CATALOG,
    PUBLISHED,
    RECOVERED,
    catalog_lock,
    connect,
    database_files,
    largest_snapshot,
    number,
    remove_database,
)

COPY = Path(__file__).with_name("sqlite_copy.py")
# None in a published copy that somebody has put in the catalog's place.
USABLE = """SELECT max(snapshot_id) FROM ducklake_snapshot
    WHERE NOT EXISTS (SELECT 1 FROM ducklake_metadata WHERE key = ?1)"""


@dataclass(frozen=True)
class Recovered:
    """What a recovery has put in place.

    Args:
        source: The copy or backup that was taken.
        snapshot_id: Its newest snapshot.
        written_at: When that was written, UTC.
        unknown_files: Data files that the catalog does not name: what was written after it, and leftovers.
        aside: What was in the catalog's place, under its new names.
    """

    source: Path
    snapshot_id: int
    written_at: dt.datetime
    unknown_files: int
    aside: list[Path]


def publish_catalog(folder: Path, lock_timeout_s: float) -> None:
    """Copy the catalog for readers who may not write the folder.

    Raises:
        LakeError: The disk is full, or the copy that is there is newer than the catalog.
    """
    public = folder / PUBLIC_CATALOG
    with catalog_lock(folder, lock_timeout_s):
        _check_not_newer(public, folder / CATALOG)
        _copy(folder / CATALOG, public, "delete", PUBLISHED)


def recover(folder: Path, source: Path | None, lock_timeout_s: float) -> Recovered:
    """Put the published copy, or a backup, in the place of a catalog that is lost, broken or older.

    What was there stays under another name. Maintenance never removes data files that are older than the recovery.

    Raises:
        LakeError: There is nothing to recover from, or nothing to recover.
    """
    source, catalog = source or folder / PUBLIC_CATALOG, folder / CATALOG
    if not source.exists():
        raise LakeError(
            "There is no copy of the catalog to recover from.",
            where={"file": source},
            fix="Name a backup of catalog.sqlite with --from FILE, or move the lake away to begin a new one.",
        )
    wanted = largest_snapshot(source)
    with catalog_lock(folder, lock_timeout_s):
        _check_lost(catalog, wanted)
        new = folder / (CATALOG + ".recovered")
        remove_database(new)
        _copy(source, new, "wal", RECOVERED)
        aside = _aside(catalog)
        new.rename(catalog)
    return _described(folder, source, aside, lock_timeout_s)


def _copy(source: Path, target: Path, journal_mode: str, key: str) -> None:
    """Copy a catalog; the copy appears whole or not at all."""
    new = target.with_name(target.name + ".new")
    try:
        remove_database(new)
        # Isolated and without site-packages: half the start-up time.
        command = [sys.executable, "-I", "-S", str(COPY), str(source), str(new), journal_mode, key]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
        if done.returncode:
            raise OSError(done.stderr.strip() or f"the copying process ended with {done.returncode}")
        new.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            remove_database(new)
        raise lake_error(
            error, "The lake's catalog cannot be copied.", target.parent, file=source, copy=target
        ) from error


def _check_not_newer(public: Path, catalog: Path) -> None:
    if not public.exists():
        return
    published = None
    with contextlib.suppress(LakeError):  # a broken copy is replaced
        published = largest_snapshot(public)
    newest = largest_snapshot(catalog)
    if published is not None and newest is not None and published > newest:
        raise LakeError(
            "The published copy is newer than the catalog, and stays as it is.",
            found=f"snapshot {published} in the copy, {newest} in the catalog",
            where={"file": public},
            fix="`ml-assets lake recover` puts the copy in the catalog's place.",
        )


def _check_lost(catalog: Path, wanted: int | None) -> None:
    """Refuse to replace a catalog that is in order and at least as new."""
    newest = None
    if catalog.exists():
        try:
            newest = number(catalog, USABLE, PUBLISHED)
        except LakeBusy:
            raise
        except LakeError:
            return
    if newest is not None and (wanted is None or newest >= wanted):
        raise LakeError(
            "The catalog is in order; there is nothing to recover.",
            found=f"snapshot {newest}, and snapshot {wanted} in the copy",
            where={"file": catalog},
            fix="To go back to an earlier state of a table: `ml-assets lake restore`.",
        )


def _aside(catalog: Path) -> list[Path]:
    """Rename what is in the catalog's place; SQLite would apply a WAL that it finds there to another file."""
    stamp = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}"
    moved = []
    for file in database_files(catalog):
        if file.exists():
            moved.append(file.rename(file.with_name(f"{file.name}.lost-{stamp}")))
    return moved


def _described(folder: Path, source: Path, aside: list[Path], lock_timeout_s: float) -> Recovered:
    connection = connect(folder, False, None, lock_timeout_s)
    try:
        newest, moment = connection.con.execute(
            "SELECT snapshot_id, snapshot_time FROM lake.snapshots() ORDER BY snapshot_id DESC LIMIT 1"
        ).fetchall()[0]
        orphans = connection.con.execute(
            "CALL ducklake_delete_orphaned_files('lake', dry_run => true, cleanup_all => true)"
        ).fetchall()
    finally:
        connection.close()
    return Recovered(source, int(newest), moment.astimezone(dt.UTC), len(orphans), aside)
