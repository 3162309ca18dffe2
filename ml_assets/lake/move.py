"""A lake goes to another place: from a SQLite file and a folder to PostgreSQL and S3, or back.

Every snapshot that is kept goes along under its id, with its comments and what it says of its writer, so that models
find what they were trained on. The source stays as it is. A move that was killed is started again and goes on.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from ml_assets.errors import LakeError
from ml_assets.lake.catalog_copy import DATA, Standing, difference
from ml_assets.lake.copying import (
    ARTIFACTS,
    FILES_LOCK,
    LOG,
    CatalogExport,
    Copied,
    LakeFiles,
    Tell,
    check_apart,
    copy_files,
    exported,
    temporary_folder,
)
from ml_assets.lake.faults import no_lake
from ml_assets.lake.ledger import Ledger

# With what a pipeline goes on with: trials of searches that are not over, and segments of the log that nobody has read.
MOVED = (*ARTIFACTS, "searches", LOG)
WAIT_S = 5  # for a write that is at its commit; whoever writes for longer is at work


@dataclass(frozen=True)
class Moved:
    """What has arrived.

    Args:
        snapshot_id: The newest snapshot.
        snapshots: How many there are.
        copied: The files.
        aside: An earlier catalog of this lake that was in the way, under its new names.
    """

    snapshot_id: int
    snapshots: int
    copied: Copied
    aside: list[Path]


def move(source: LakeFiles, target: LakeFiles, tell: Tell, lock_timeout_s: float) -> Moved:
    """Copy a lake to another place, and compare.

    Nobody can write the source meanwhile. Afterwards whoever still has the old settings can: stop them before.

    Raises:
        LakeError: There is no lake, the target holds another one or later writes, or a file is damaged.
        LakeBusy: Somebody writes.
    """
    has_same_files = source.files.url == target.files.url
    if not has_same_files:
        check_apart(source.files, target.files)
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(temporary_folder()))
        held.enter_context(source.catalog.lock(FILES_LOCK, lock_timeout_s, "copying the lake's files"))
        held.enter_context(source.catalog.write_lock((), WAIT_S))
        held.enter_context(target.catalog.write_lock((), lock_timeout_s))
        export = exported(source.catalog, folder)
        if export is None:
            raise no_lake(source.files.url)
        ledger = Ledger.of(target.files)
        _check_free(target, ledger, export.standing, folder)
        copied = Copied() if has_same_files else _files(source, target, export, ledger, tell)
        aside = target.catalog.load(export.file)
        _check_equal(target, export.file, folder)
    target.catalog.publish(lock_timeout_s)
    return Moved(export.standing.newest, len(export.standing.snapshots), copied, aside)


def _check_free(target: LakeFiles, ledger: Ledger, state: Standing, folder: Path) -> None:
    """Refuse a place that holds another lake, or later writes of this one."""
    there = exported(target.catalog, folder, "there.sqlite")
    if there is None or there.standing.is_empty:
        is_free = ledger.lake == state.lake or (not ledger.lake and next(target.files.files(DATA), None) is None)
        found = "files of another lake"
    else:
        is_free = state.is_later_state_of(there.standing)
        found = "writes that this lake does not have" if there.standing.lake == state.lake else "another lake"
    if not is_free:
        raise LakeError(
            "The lake cannot go where another one is.",
            found=found,
            where={"place": target.files.url},
            fix="Name an empty database and an empty folder.",
        )


def _files(source: LakeFiles, target: LakeFiles, export: CatalogExport, ledger: Ledger, tell: Tell) -> Copied:
    ledger.lake = export.standing.lake
    ledger.save()
    copied = copy_files(source.files, target.files, export, Ledger.of(source.files), ledger, tell, MOVED)
    ledger.save()
    if copied.damaged:
        raise LakeError(
            "Files of the lake are lost or damaged, so it stays where it is.",
            found="; ".join(f"{one.name} {one.what}" for one in copied.damaged[:3]),
            where={"files": len(copied.damaged)},
            fix="`ml-assets lake check` says what each one touches and what to do.",
        )
    return copied


def _check_equal(target: LakeFiles, file: Path, folder: Path) -> None:
    arrived = exported(target.catalog, folder, "arrived.sqlite")
    differing = ["the catalog"] if arrived is None else difference(file, arrived.file)
    if differing:
        raise LakeError(
            "The catalog that arrived is not the one that was sent.",
            found=", ".join(differing),
            where={"place": target.files.url},
            fix="The source is as it was. Empty the target, and run the same command again.",
        )
