"""The way back from a lost catalog: its published copy, or a backup, is put in its place."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from ml_assets.errors import LakeBusy, LakeError
from ml_assets.lake.catalog import Catalog
from ml_assets.lake.published import copy
from ml_assets.lake.sqlite import SqliteCatalog
from ml_assets.lake.sqlite_files import (
    CATALOG,
    PUBLISHED,
    RECOVERED,
    database_files,
    largest_snapshot,
    number,
    remove_database,
)

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


def recover(place: Catalog, source: Path | None, lock_timeout_s: float) -> Recovered:
    """Put the published copy, or a backup, in the place of a catalog that is lost, broken or older.

    What was there stays under another name. Maintenance never removes data files that are older than the recovery.

    Raises:
        LakeError: There is nothing to recover from, or nothing to recover, or the catalog is no file.
    """
    if not isinstance(place, SqliteCatalog):
        raise LakeError(
            "The catalog is in a database, which has backups of its own.",
            where={"files": place.data.url},
            fix="Restore the database from its newest backup (pg_restore). Data files that were written later stay; "
            "`ml-assets status` lists the batches that must be rebuilt.",
        )
    source, catalog = source or place.public, place.file
    if not source.exists():
        raise LakeError(
            "There is no copy of the catalog to recover from.",
            where={"file": source},
            fix="Name a backup of catalog.sqlite with --from FILE, or move the lake away to begin a new one.",
        )
    wanted = largest_snapshot(source)
    with place.write_lock((), lock_timeout_s):
        _check_lost(catalog, wanted)
        new = place.folder / (CATALOG + ".recovered")
        remove_database(new)
        copy(source, new, "wal", RECOVERED)
        aside = _aside(catalog)
        new.rename(catalog)
    return _described(place, source, aside, lock_timeout_s)


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


def _described(place: SqliteCatalog, source: Path, aside: list[Path], lock_timeout_s: float) -> Recovered:
    connection = place.connect(False, None, lock_timeout_s)
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
