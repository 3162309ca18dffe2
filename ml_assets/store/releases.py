"""Releases: the folders that versions ship as, and what was measured when each was started and asked.

Table: `<pipeline>.release_candidate`, one row for each time that a version was packed. Nothing is ever changed.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ml_assets.store.lake import Lake
from ml_assets.store.sql import table

RELEASES = {
    "version": "VARCHAR",
    "created_at": "TIMESTAMP",
    "folder": "VARCHAR",
    "sha256": "VARCHAR",
    "engine": "VARCHAR",
    "engine_why": "VARCHAR",
    "size_bytes": "BIGINT",
    "started": "BOOLEAN",
    "start_s": "DOUBLE",
    "golden_rows": "BIGINT",
    "parity": "DOUBLE",
    "p50_ms": "DOUBLE",
    "p95_ms": "DOUBLE",
    "rss_mib": "DOUBLE",
    "run_id": "VARCHAR",
}


@dataclass(frozen=True)
class Release:
    """One release of a version.

    Args:
        version: MAJOR.MINOR.PATCH.
        folder: Relative to the releases folder.
        sha256: SHA-256 of its manifest.
        engine: What answers: onnx or skops.
        engine_why: Why it is not onnx; empty otherwise.
        size_bytes: Size of the folder.
        started: Was it started as a process? Not with `gates.serving: null`.
        start_s: Seconds until it was ready.
        golden_rows: Rows that were replayed.
        parity: Largest difference from the batch path on them; infinite where an answer was missing.
        p50_ms: Median of one-row requests, in milliseconds.
        p95_ms: Their 95th percentile.
        rss_mib: Most memory of the process, in MiB.
    """

    version: str
    created_at: dt.datetime
    folder: str
    sha256: str
    engine: str
    engine_why: str
    size_bytes: int
    started: bool
    start_s: float | None
    golden_rows: int
    parity: float | None
    p50_ms: float | None
    p95_ms: float | None
    rss_mib: float | None


def newest(lake: Lake, pipeline: str, version: str) -> Release | None:
    """The newest release of a version; None where it was never packed."""
    name = f"{pipeline}.release_candidate"
    if not lake.exists(name):
        return None
    fields = list(Release.__dataclass_fields__)
    rows = lake.rows(
        f"SELECT {', '.join(fields)} FROM {table(name)} WHERE version = ? ORDER BY created_at DESC LIMIT 1", [version]
    )
    return Release(**rows[0]) if rows else None


def digest(lake: Lake, pipeline: str, folder: str) -> str | None:
    """SHA-256 of a release's manifest, as it was registered; None where no release of that folder was.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        folder: Relative to the releases folder.
    """
    name = f"{pipeline}.release_candidate"
    if not lake.exists(name):
        return None
    rows = lake.rows(f"SELECT sha256 FROM {table(name)} WHERE folder = ? ORDER BY created_at DESC LIMIT 1", [folder])
    return str(rows[0]["sha256"]) if rows else None
