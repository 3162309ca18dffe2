"""`ml-assets lake recover`: what is lost comes back from the catalog's published copy, or from a backup."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from ml_assets.cli.group import console
from ml_assets.cli.lake.backup import LOCK_TIMEOUT_S, say_copied
from ml_assets.cli.lake.progress import progress
from ml_assets.lake import recovery
from ml_assets.lake.paths import Paths
from ml_assets.lake.storage import storage_named


@click.command(short_help="Put back what is lost, from a backup or the published catalog.")
@click.option(
    "--from",
    "source",
    metavar="BACKUP",
    help="TARGET of `lake backup`, or a copy of catalog.sqlite; by default the published copy, public.sqlite.",
)
def recover(source: str | None) -> None:
    """Put back what is lost or damaged.

    Without --from: the catalog, where it is lost, broken or older than its published copy. From a backup: also every
    data file, bundle and release that is missing or has other bytes, and reports that are missing. A catalog that is in
    order is kept, so that no write is lost. What was in a catalog's place keeps the ending .lost and its time. No data
    file is removed, now or by later maintenance.
    """
    began = time.monotonic()
    place, file = Paths.of().place, Path(source) if source else None
    if file is None or file.is_file():
        done = recovery.recover(place.catalog, file, LOCK_TIMEOUT_S)
    else:
        with progress("put back") as tell:
            done = recovery.recover_backup(place, storage_named(str(source)), tell, LOCK_TIMEOUT_S)
        say_copied(done.files, time.monotonic() - began)
    moment = f"snapshot {done.snapshot_id} of {done.written_at:%Y-%m-%d %H:%M} UTC"
    console.print(
        f"The catalog is {done.source} now: {moment}." if done.source else f"The catalog is in order: {moment}."
    )
    for aside in done.aside:
        console.print(f"What was there: {aside}")
    if done.unknown_files:
        console.print(f"{done.unknown_files:,} data files are not in it, such as those written later. They are kept.")
    console.print("`ml-assets lake check` reads everything once more; `ml-assets status` lists batches to be rebuilt.")
    sys.exit(1 if done.files.damaged else 0)
