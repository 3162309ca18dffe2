"""`ml-assets lake check`: is every file there, and is it what was written?"""

from __future__ import annotations

import sys

import click

from ml_assets.cli.group import console
from ml_assets.cli.lake.progress import megabytes, progress
from ml_assets.cli.listing import json_option, print_json
from ml_assets.lake.check import CheckedLake, LakeFault
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.tables import lake_check


@click.command(short_help="Is every file there, and what was written?")
@click.option("--fast", "is_fast", is_flag=True, help="Names and sizes only: read no file.")
@json_option
def check(is_fast: bool, as_json: bool) -> None:
    """Check the catalog, every file of every snapshot, and the bundles, releases and reports that tables name.

    Each file is compared with its SHA-256 of an earlier check or copy. One that has none is read to its end, and its
    hash is kept in lake/hashes.json for the next time. Exits with 1 if anything is wrong.
    """
    paths = Paths.of()
    with progress("checked") as tell, Lake.of(paths, read_only=True) as lake:
        checked = lake_check.check(paths.place, lake, is_fast, tell)
    if as_json:
        print_json(checked)
    else:
        _print(checked, is_fast)
    sys.exit(1 if checked.faults else 0)


def _print(checked: CheckedLake, is_fast: bool) -> None:
    for fault in checked.faults:
        console.print(f"FAULT  {fault.what}: {fault.where}")
        touched = _touched(fault)
        if touched:
            console.print(f"       touches {touched}")
        console.print(f"       next:  {fault.fix}")
    for note in checked.notes:
        console.print(f"NOTE   {note}")
    console.print(
        f"{len(checked.faults):,} faults. {checked.files:,} data files ({megabytes(checked.bytes)}) of "
        f"{checked.snapshots:,} snapshots, by name and size"
        + (
            "; their content was not read."
            if is_fast
            else f", {checked.compared:,} of them by a known SHA-256, "
            f"{checked.read:,} read to their end for the first time."
        )
    )
    if checked.new_files:
        console.print(
            f"{checked.new_files:,} files of the last day are in no snapshot: a writer may be at work on them."
        )


def _touched(fault: LakeFault) -> str:
    parts = [f"{fault.table} {fault.batch or ''}".strip() if fault.table else fault.batch or ""]
    if fault.snapshots is not None:
        first, last = fault.snapshots
        parts.append(f"snapshots {first} to {'the newest' if last is None else last}")
    if fault.models:
        parts.append(f"models {', '.join(fault.models)}")
    return ", ".join(part for part in parts if part)
