"""`ml-assets lake recover`: a copy of the catalog takes the place of one that is lost."""

from __future__ import annotations

from pathlib import Path

import click

from ml_assets.cli.group import console
from ml_assets.lake.paths import Paths
from ml_assets.lake.recovery import recover as recover_catalog

LOCK_TIMEOUT_S = 60


@click.command(short_help="Replace a lost catalog by its copy or a backup.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="A backup of catalog.sqlite; by default the published copy, public.sqlite.",
)
def recover(source: Path | None) -> None:
    """Put a copy of the catalog in the place of one that is lost, broken or older than the copy.

    What was there keeps the ending .lost and its time. No data file is changed, now or by later maintenance.
    """
    done = recover_catalog(Paths.of().catalog, source, LOCK_TIMEOUT_S)
    console.print(
        f"The catalog is {done.source} now: snapshot {done.snapshot_id} of {done.written_at:%Y-%m-%d %H:%M} UTC."
    )
    for file in done.aside:
        console.print(f"What was there: {file}")
    if done.unknown_files:
        console.print(f"{done.unknown_files:,} data files are not in it, such as those written later. They are kept.")
    console.print("`ml-assets status` lists the batches that must be rebuilt.")
