"""`ml-assets lake backup`: a copy of the lake at one moment, with models and reports, while pipelines write."""

from __future__ import annotations

import sys
import time

import click

from ml_assets.cli.group import console
from ml_assets.cli.lake.progress import megabytes, progress
from ml_assets.cli.listing import json_option, print_json
from ml_assets.lake import backup as backups
from ml_assets.lake.copying import Copied
from ml_assets.lake.paths import Paths
from ml_assets.lake.storage import storage_named

LOCK_TIMEOUT_S = 60


@click.command(short_help="Copy the lake, models and reports.")
@click.argument("target")
@json_option
def backup(target: str, as_json: bool) -> None:
    """Copy the lake of this moment, with bundles, releases and reports, to TARGET: a folder or an s3:// URL.

    Pipelines may write meanwhile. A later backup to the same TARGET copies only what is new. Each copy is read back and
    compared by its SHA-256. Not in it: source files, .env, Dagster's history of runs, logged requests in data/serving
    that no run has read yet.
    """
    began = time.monotonic()
    with progress("copied") as tell:
        done = backups.backup(Paths.of().place, storage_named(target), tell, LOCK_TIMEOUT_S)
    if as_json:
        print_json({"snapshot_id": done.snapshot_id, "snapshots": done.snapshots, **plain(done.copied)})
    else:
        console.print(f"{target} is the lake at snapshot {done.snapshot_id:,}, with {done.snapshots:,} snapshots.")
        say_copied(done.copied, time.monotonic() - began)
    sys.exit(1 if done.copied.damaged else 0)


def say_copied(copied: Copied, seconds: float) -> None:
    """What was copied, and what could not be."""
    console.print(
        f"Copied {copied.files:,} files ({megabytes(copied.bytes)}) in {seconds:.1f} s; "
        f"{copied.unchanged:,} files ({megabytes(copied.unchanged_bytes)}) were there already."
    )
    for one in copied.damaged:
        console.print(f"NOT COPIED  {one.name} {one.what}")
    if copied.damaged:
        console.print("`ml-assets lake check` says what each of these touches and what to do.")


def plain(copied: Copied) -> dict[str, object]:
    """The same for --json."""
    return {
        "files": copied.files,
        "bytes": copied.bytes,
        "unchanged": copied.unchanged,
        "unchanged_bytes": copied.unchanged_bytes,
        "damaged": copied.damaged,
    }
