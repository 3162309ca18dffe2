"""The way back from what is lost: a catalog from its published copy, and anything from a backup."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from ml_assets.errors import LakeBusy, LakeError
from ml_assets.lake.backup import state_of
from ml_assets.lake.catalog import Catalog
from ml_assets.lake.catalog_copy import data_files
from ml_assets.lake.copying import (
    FILES_LOCK,
    CatalogExport,
    Copied,
    LakeFiles,
    Tell,
    check_apart,
    exported,
    restore_files,
    temporary_folder,
)
from ml_assets.lake.ledger import Ledger
from ml_assets.lake.sqlite import SqliteCatalog
from ml_assets.lake.sqlite_files import PUBLISHED, largest_snapshot, number
from ml_assets.lake.storage import Storage

# None in a published copy that somebody has put in the catalog's place.
USABLE = """SELECT max(snapshot_id) FROM ducklake_snapshot
    WHERE NOT EXISTS (SELECT 1 FROM ducklake_metadata WHERE key = ?1)"""


@dataclass(frozen=True)
class Recovered:
    """What a recovery has put in place.

    Args:
        source: The copy or backup of the catalog that was taken; None where the catalog was in order.
        snapshot_id: The catalog's newest snapshot.
        written_at: When that was written, UTC.
        unknown_files: Data files that the catalog does not name: what was written after it, and leftovers.
        aside: What was in the catalog's place, under its new names.
        files: Files that were put back from a backup.
    """

    source: Path | str | None
    snapshot_id: int
    written_at: dt.datetime
    unknown_files: int
    aside: list[Path]
    files: Copied = field(default_factory=Copied)


def recover(place: Catalog, source: Path | None, lock_timeout_s: float) -> Recovered:
    """Put the published copy, or a copy of the catalog, in the place of a catalog that is lost, broken or older.

    What was there stays under another name. Maintenance never removes data files that are older than the recovery.

    Raises:
        LakeError: There is nothing to recover from, or nothing to recover, or the catalog is no file.
    """
    if not isinstance(place, SqliteCatalog):
        raise LakeError(
            "A catalog in a database has no published copy.",
            where={"files": place.data.url},
            fix="`ml-assets lake recover --from BACKUP` puts a backup of `ml-assets lake backup` back. Or restore the "
            "database from a backup of its own (pg_restore); `ml-assets status` lists what must be rebuilt then.",
        )
    source, catalog = source or place.public, place.file
    if not source.exists():
        raise LakeError(
            "There is no copy of the catalog to recover from.",
            where={"file": source},
            fix="Name a backup with --from, or move the lake away to begin a new one.",
        )
    least = largest_snapshot(source)
    with place.write_lock((), lock_timeout_s):
        _check_lost(catalog, least)
        aside = place.load(source, is_recovery=True)
    return _described(place, source, aside, lock_timeout_s)


def recover_backup(place: LakeFiles, backup: Storage, tell: Tell, lock_timeout_s: float) -> Recovered:
    """Put back from a backup what is lost or damaged: files, and the catalog where it is lost, broken or older.

    What is in order stays as it is: writes that are newer than the backup are never lost.

    Raises:
        LakeError: There is no backup, or it is of another lake, or something of it is damaged.
    """
    check_apart(place.files, backup)
    with temporary_folder() as name, place.catalog.lock(FILES_LOCK, lock_timeout_s, "copying the lake's files"):
        folder, ledger = Path(name), Ledger.of(backup)
        state = state_of(backup, ledger, folder)
        if state is None:
            raise LakeError("There is no backup.", where={"place": backup.url}, fix="Name the TARGET of a backup.")
        copy = folder / "earlier.sqlite"
        taken = CatalogExport(copy, state, data_files(copy))
        with place.catalog.write_lock((), lock_timeout_s):
            there = _usable(place.catalog, folder)
            if there is not None and there.standing.lake != state.lake and not there.standing.is_empty:
                raise LakeError(
                    "The backup is of another lake.",
                    where={"place": backup.url, "files": place.files.url},
                    fix="Move this lake away first, or name a backup of it.",
                )
            is_lost = there is None or there.standing.newest < state.newest
            current = taken if is_lost or there is None else there
            files = restore_files(backup, place.files, current, ledger, tell)
            aside = place.catalog.load(copy, is_recovery=True) if is_lost else []
    return _described(place.catalog, backup.url if is_lost else None, aside, lock_timeout_s, files)


def _usable(catalog: Catalog, folder: Path) -> CatalogExport | None:
    """A copy of the catalog that is in place; None where it is lost or broken."""
    try:
        return exported(catalog, folder, "there.sqlite")
    except LakeBusy:
        raise
    except LakeError:
        return None


def _check_lost(catalog: Path, least: int | None) -> None:
    """Refuse to replace a catalog that is in order and at least as new."""
    newest = None
    if catalog.exists():
        try:
            newest = number(catalog, USABLE, PUBLISHED)
        except LakeBusy:
            raise
        except LakeError:
            return
    if newest is not None and (least is None or newest >= least):
        raise LakeError(
            "The catalog is in order; there is nothing to recover.",
            found=f"snapshot {newest}, and snapshot {least} in the copy",
            where={"file": catalog},
            fix="To go back to an earlier state of a table: `ml-assets lake restore`. `ml-assets lake check` says "
            "whether any file is lost.",
        )


def _described(
    place: Catalog, source: Path | str | None, aside: list[Path], lock_timeout_s: float, files: Copied | None = None
) -> Recovered:
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
    return Recovered(source, int(newest), moment.astimezone(dt.UTC), len(orphans), aside, files or Copied())
