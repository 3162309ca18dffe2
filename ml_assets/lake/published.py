"""The published copy of a SQLite catalog, for users who may not write the lake.

A copy is made by a process of its own (sqlite_copy.py): 20 ms, and 4 ms more for each megabyte of the catalog.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ml_assets.errors import LakeError
from ml_assets.lake.faults import lake_error
from ml_assets.lake.sqlite_files import PUBLISHED, largest_snapshot, remove_database, utc_now

COPY = Path(__file__).with_name("sqlite_copy.py")


def publish(catalog: Path, public: Path) -> None:
    """Copy the catalog; the caller holds the lock of writers.

    Raises:
        LakeError: The disk is full, or the copy that is there is newer than the catalog.
    """
    _check_not_newer(public, catalog)
    copy(catalog, public, "delete", {PUBLISHED: utc_now()})


def copy(source: Path, target: Path, journal_mode: str, marks: Mapping[str, str]) -> None:
    """Copy a catalog; the copy appears whole or not at all, and says in ducklake_metadata what the marks say."""
    new = target.with_name(target.name + ".new")
    try:
        remove_database(new)
        # Isolated and without site-packages: half the start-up time.
        command = [sys.executable, "-I", "-S", str(COPY), str(source), str(new), journal_mode]
        command += [f"{key}={value}" for key, value in marks.items()]
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
