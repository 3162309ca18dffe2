"""`ml-assets lake move`: the lake goes to PostgreSQL and S3, or back."""

from __future__ import annotations

import re
import time

import click

from ml_assets import liveness
from ml_assets.cli.group import console
from ml_assets.cli.lake.backup import LOCK_TIMEOUT_S, say_copied
from ml_assets.cli.lake.progress import progress
from ml_assets.errors import LakeBusy, LakeError
from ml_assets.home import home_of
from ml_assets.lake import move as moves
from ml_assets.lake.paths import SETTINGS, Paths

SECRET = re.compile(r"://[^/@]*:[^/@]*@|password", re.IGNORECASE)


@click.command(short_help="Copy the lake to PostgreSQL and S3, or back.")
@click.option("--catalog", metavar="ADDRESS", help="The PostgreSQL database; by default a SQLite file in data/lake.")
@click.option("--data", metavar="PLACE", help="The files: an s3:// URL, or a folder; by default the data folder.")
def move(catalog: str | None, data: str | None) -> None:
    """Copy the lake, with every snapshot, bundle and release, all reports and logs, to where --catalog and --data say.

    They are the settings of [tool.ml_assets.lake] that name the new place; without them it is an embedded lake in the
    data folder. Stop `ml-assets ui` and all runs first. The lake that is in use now stays as it is. A move that was
    interrupted goes on when it is started again.
    """
    if data and not catalog:
        raise LakeError("Files elsewhere need a catalog on PostgreSQL.", found=data, fix="Give --catalog, too.")
    paths = Paths.of()
    source, target = paths.place, paths.place_at(catalog, data)
    if source == target:
        raise LakeError("The lake is there already.", where={"files": source.files.url})
    _check_no_runs(paths)
    began = time.monotonic()
    with progress("copied") as tell:
        done = moves.move(source, target, tell, LOCK_TIMEOUT_S)
    console.print(f"{done.snapshots:,} snapshots, the newest {done.snapshot_id:,}, are at {target.files.url}, too.")
    say_copied(done.copied, time.monotonic() - began)
    for file in done.aside:
        console.print(f"What was there: {file}")
    if catalog:
        console.print("\nTo use it, write in pyproject.toml, without a password:\n")
        console.print(
            "[tool.ml_assets.lake]\n" + f'catalog = "{_shown(catalog)}"' + (f'\ndata = "{data}"' if data else "")
        )
    else:
        names = " and ".join(f"${name}" for name in SETTINGS.values())
        console.print(f"\nTo use it, remove [tool.ml_assets.lake] from pyproject.toml, and {names}.")
    console.print(
        f"\nThe earlier one stays at {source.files.url}: remove it when `ml-assets lake check` finds no fault."
    )


def _check_no_runs(paths: Paths) -> None:
    """Refuse while a run is at work: what it writes later would go to the old place."""
    home = home_of(paths)
    runs = [file.stem for file in (home / liveness.FOLDER).glob("*.lock") if liveness.is_held(home, file.stem)]
    if runs:
        raise LakeBusy(
            "A run is at work: what it writes later would stay where the lake is now.",
            found=", ".join(runs),
            fix="Wait for it, or end it; stop `ml-assets ui`; then run the same command again.",
        )


def _shown(address: str) -> str:
    """The address as the settings have it: a password comes from the environment."""
    return "ADDRESS" if SECRET.search(address) else address
