"""Releases: the folders that versions ship as, which model serves in each, and what was measured when it was started.

A version has a judged model (`trained_model`), which the evaluation is about, and a served one, which answers wherever
the version scores. With `training.refit: all` the served one is the judged recipe, fitted again on all labelled rows.

Table: `<pipeline>.release_candidate`, one row for each time that a version was packed. Nothing is ever changed.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ml_assets.lake.lake import Lake
from ml_assets.tables.training_sets import FITTED, PARTS
from ml_assets.tables.versions import ModelVersion

JUDGED, REFIT = "judged", "refit"
RELEASES = {
    "version": "VARCHAR",
    "created_at": "TIMESTAMP",
    "folder": "VARCHAR",
    "sha256": "VARCHAR",
    "engine": "VARCHAR",
    "engine_why": "VARCHAR",
    "size_bytes": "BIGINT",
    "serves": "VARCHAR",
    "serves_why": "VARCHAR",
    "bundle": "VARCHAR",
    "bundle_sha256": "VARCHAR",
    "fitted_batches": "VARCHAR[]",
    "fitted_rows": "BIGINT",
    "flips": "DOUBLE",
    "negative_flips": "DOUBLE",
    "flip_rows": "BIGINT",
    "golden_change": "DOUBLE",
    "known_rows": "BIGINT",
    "known_judged": "DOUBLE",
    "known_served": "DOUBLE",
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
        serves: refit or judged: which of the version's models it ships. None, of an earlier ml_assets: judged.
        serves_why: Why it is that one.
        bundle: Folder of that model's bundle, relative to the bundles folder.
        bundle_sha256: SHA-256 of the bundle's manifest.
        fitted_batches: Batches that the model was fitted on.
        fitted_rows: Their rows.
        flips: Share of the test rows that the refit model decides otherwise than the judged one.
        negative_flips: Share of the test rows that the judged one decides right and the refit one wrong.
        flip_rows: Test rows that both were asked about.
        golden_change: Largest change of a score from the judged to the refit model on the golden rows.
        known_rows: Train and validation rows, on which both were fitted.
        known_judged: The tuning metric of the judged model on them.
        known_served: That of the refit model.
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
    serves: str | None = None
    serves_why: str | None = None
    bundle: str | None = None
    bundle_sha256: str | None = None
    fitted_batches: list[str] | None = None
    fitted_rows: int | None = None
    flips: float | None = None
    negative_flips: float | None = None
    flip_rows: int | None = None
    golden_change: float | None = None
    known_rows: int | None = None
    known_judged: float | None = None
    known_served: float | None = None


@dataclass(frozen=True)
class Served:
    """The model that answers for a version.

    Args:
        version: The version.
        serves: judged, or refit on all labelled rows.
        bundle: Folder of its bundle, relative to the bundles folder.
        bundle_sha256: SHA-256 of the bundle's manifest.
        parts: Parts of the version's training set that it was fitted on.
    """

    version: str
    serves: str
    bundle: str
    bundle_sha256: str
    parts: tuple[str, ...]


def judged(model: ModelVersion) -> Served:
    """The model of a version that was evaluated."""
    return Served(model.version, JUDGED, model.bundle, model.bundle_sha256, FITTED)


def served(lake: Lake, pipeline: str, model: ModelVersion) -> Served:
    """The model that answers for a version: the one in its newest release; before there is any, the judged one."""
    release = newest(lake, pipeline, model.version)
    if release is None or release.serves != REFIT or release.bundle is None or release.bundle_sha256 is None:
        return judged(model)
    return Served(model.version, REFIT, release.bundle, release.bundle_sha256, PARTS)


def models(lake: Lake, pipeline: str, model: ModelVersion) -> list[Served]:
    """Every model of a version, the judged one first."""
    return list(dict.fromkeys((judged(model), served(lake, pipeline, model))))


def newest(lake: Lake, pipeline: str, version: str) -> Release | None:
    """The newest release of a version; None where it was never packed."""
    rows = lake.rows_of(
        f"{pipeline}.release_candidate",
        "SELECT * FROM {t} WHERE version = ? ORDER BY created_at DESC LIMIT 1",
        [version],
    )
    fields = Release.__dataclass_fields__
    return Release(**{name: value for name, value in rows[0].items() if name in fields}) if rows else None


def digest(lake: Lake, pipeline: str, folder: str) -> str | None:
    """SHA-256 of a release's manifest, as it was registered; None where no release of that folder was.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        folder: Relative to the releases folder.
    """
    sql = "SELECT sha256 FROM {t} WHERE folder = ? ORDER BY created_at DESC LIMIT 1"
    rows = lake.rows_of(f"{pipeline}.release_candidate", sql, [folder])
    return str(rows[0]["sha256"]) if rows else None


def folders(lake: Lake, pipeline: str) -> set[str]:
    """Every folder that a release was packed into."""
    return {row["folder"] for row in lake.rows_of(f"{pipeline}.release_candidate", "SELECT DISTINCT folder FROM {t}")}
