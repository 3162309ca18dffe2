"""A backup: a copy of the lake at one moment, with all models and reports, at a place of its own.

    TARGET/lake/catalog.sqlite      the catalog of that moment; SQLite whatever the lake's is, for reading only
    TARGET/lake/data/...            every file that any of its snapshots needs
    TARGET/bundles, releases, reports
    TARGET/lake/hashes.json         the SHA-256 of each

A folder with a backup can be read as a project's data folder. The next backup into it copies what is new; until its end
the earlier one is whole. Pipelines write meanwhile. A data file goes when no snapshot needs it any more; bundles,
releases and reports stay, so that one that the project has lost is never lost here, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml_assets.errors import LakeError
from ml_assets.lake.catalog import Catalog
from ml_assets.lake.catalog_copy import DATA, Standing, standing
from ml_assets.lake.copying import (
    CATALOG_FILE,
    FILES_LOCK,
    CatalogExport,
    Copied,
    LakeFiles,
    Tell,
    check_apart,
    copy_files,
    exported,
    fetched,
    put_file,
    remove_others,
    temporary_folder,
)
from ml_assets.lake.faults import no_lake
from ml_assets.lake.ledger import Ledger
from ml_assets.lake.storage import Storage


@dataclass(frozen=True)
class Backup:
    """What a backup holds, and what was done for it.

    Args:
        snapshot_id: The newest snapshot in it.
        snapshots: How many it has.
        copied: The files.
        removed: Data files of the backup before that no snapshot needs any more.
    """

    snapshot_id: int
    snapshots: int
    copied: Copied
    removed: int


def backup(source: LakeFiles, target: Storage, tell: Tell, lock_timeout_s: float) -> Backup:
    """Bring the backup at a place up to date.

    Raises:
        LakeError: There is no lake, the place holds something else or a later state, or cannot be written.
        LakeBusy: Another backup runs.
    """
    check_apart(source.files, target)
    with source.catalog.lock(FILES_LOCK, lock_timeout_s, "copying the lake's files"), temporary_folder() as name:
        export = exported_now(source.catalog, Path(name), lock_timeout_s)
        ledger = Ledger.of(target)
        _check_earlier(target, ledger, export, Path(name))
        ledger.lake = export.standing.lake
        ledger.save()
        copied = copy_files(source.files, target, export, Ledger.of(source.files), ledger, tell)
        ledger.files[CATALOG_FILE] = put_file(target, CATALOG_FILE, export.file)
        ledger.keep({*copied.names, *(name for name in ledger.files if not name.startswith(DATA))})
        ledger.save()
        removed = remove_others(target, copied.names)
    return Backup(export.standing.newest, len(export.standing.snapshots), copied, removed)


def exported_now(catalog: Catalog, folder: Path, lock_timeout_s: float) -> CatalogExport:
    """A copy of a catalog between two writes."""
    with catalog.write_lock((), lock_timeout_s):
        export = exported(catalog, folder)
    if export is None:
        raise no_lake(catalog.data.url)
    return export


def _check_earlier(target: Storage, ledger: Ledger, export: CatalogExport, folder: Path) -> None:
    """Refuse a place that holds anything but an earlier backup of this lake."""
    if not ledger.lake and next(target.every_file(), None) is None:
        return
    if ledger.lake != export.standing.lake:
        raise LakeError(
            "The place holds something else than a backup of this lake.",
            where={"place": target.url},
            fix="Name an empty folder, or one with an earlier backup of the same lake.",
        )
    earlier = state_of(target, ledger, folder)
    if earlier is not None and not export.standing.is_later_state_of(earlier):
        raise LakeError(
            "The backup has writes that the lake does not have: they would be lost.",
            found=f"snapshot {earlier.newest} in the backup, {export.standing.newest} in the lake",
            where={"place": target.url},
            fix="`ml-assets lake recover --from` puts the backup back; or back up to another place.",
        )


def state_of(target: Storage, ledger: Ledger, folder: Path) -> Standing | None:
    """How far a backup has come; None where its first one has not come to its end.

    Raises:
        LakeError: It is a lake that is in use, or its catalog is damaged.
    """
    file = folder / "earlier.sqlite"
    if not fetched(target, CATALOG_FILE, file):
        return None
    if CATALOG_FILE not in ledger.files:
        raise LakeError("The place holds a lake that is in use.", where={"place": target.url}, fix="Name another one.")
    return standing(file)
