"""Releases: the folders that versions ship as, which model serves in each, and what was measured when it was started.

A version has a judged model (`trained_model`), which the evaluation is about, and a served one, which answers wherever
the version scores. With `training.refit: all` the served one is the judged recipe, fitted again on all labelled rows.

A row for each time that a version was packed. Nothing is ever changed.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from ml_assets.errors import ModelError
from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables.table import Column, Table
from ml_assets.tables.training_sets import FITTED, PARTS
from ml_assets.tables.versions import ModelVersion

JUDGED, REFIT = "judged", "refit"
RELEASES = Table(
    "release_candidate",
    "A version, packed: its release, which model it serves, and what was measured when it was started.",
    (
        Column("version", "VARCHAR", "MAJOR.MINOR.PATCH."),
        Column("created_at", "TIMESTAMP", "When it was packed, UTC."),
        Column("folder", "VARCHAR", "The release, relative to the releases folder."),
        Column("sha256", "VARCHAR", "SHA-256 of its manifest."),
        Column("engine", "VARCHAR", "What computes the predictions: onnx or skops."),
        Column("engine_why", "VARCHAR", "Why it is not onnx."),
        Column("features_engine", "VARCHAR", "What computes the features of requests: sqlite or duckdb."),
        Column("features_why", "VARCHAR", "Why it is not sqlite."),
        Column("size_bytes", "BIGINT", "Size of the folder."),
        Column(
            "serves", "VARCHAR", "judged: the model that was evaluated; refit: the same, fitted on all labelled rows."
        ),
        Column("serves_why", "VARCHAR", "Why it is that one."),
        Column("bundle", "VARCHAR", "Folder of that model's bundle, relative to the bundles folder."),
        Column("bundle_sha256", "VARCHAR", "SHA-256 of the bundle's manifest."),
        Column("fitted_batches", "VARCHAR[]", "Batches that the model was fitted on."),
        Column("fitted_rows", "BIGINT", "Their rows."),
        Column("flips", "DOUBLE", "Share of the test rows that the refit model decides differently."),
        Column("negative_flips", "DOUBLE", "Share of the test rows that only the evaluated model decides right."),
        Column("flip_rows", "BIGINT", "Test rows that both models predicted."),
        Column("golden_change", "DOUBLE", "Largest change of a score by the refit, on the golden rows."),
        Column("known_rows", "BIGINT", "Train and validation rows, on which both were fitted."),
        Column("known_judged", "DOUBLE", "The tuning metric of the evaluated model on them."),
        Column("known_served", "DOUBLE", "That of the refit model."),
        Column("started", "BOOLEAN", "It was started as a process; not with gates.serving: null."),
        Column("start_s", "DOUBLE", "Seconds until it was ready."),
        Column("golden_rows", "BIGINT", "Rows that were sent to it."),
        Column(
            "parity", "DOUBLE", "Largest difference from batch scoring on them; infinite where one got no prediction."
        ),
        Column("p50_ms", "DOUBLE", "Median of one-row requests, in milliseconds."),
        Column("p95_ms", "DOUBLE", "Their 95th percentile."),
        Column("rss_mib", "DOUBLE", "Most memory of the process, in MiB."),
        Column("run_id", "VARCHAR", "Dagster run."),
    ),
    written_by="asset release_candidate",
    format=3,
)


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
        flip_rows: Test rows that both models predicted.
        golden_change: Largest change of a score from the judged to the refit model on the golden rows.
        known_rows: Train and validation rows, on which both were fitted.
        known_judged: The tuning metric of the judged model on them.
        known_served: That of the refit model.
        features_engine: What computes the features of requests: sqlite or duckdb; None of an earlier ml_assets.
        features_why: Why it is not sqlite; empty otherwise.
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
    features_engine: str | None = None
    features_why: str | None = None


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
    row = newest_row(lake, pipeline, version)
    return Release(**{name: row[name] for name in Release.__dataclass_fields__}) if row else None


def need(lake: Lake, pipeline: str, version: str) -> Release:
    """The newest release of a version.

    Raises:
        ModelError: It was never packed.
    """
    found = newest(lake, pipeline, version)
    if found is None:
        raise ModelError(
            f"Version {version} has no release.",
            where={"pipeline": pipeline},
            fix=f"Run `ml-assets train {pipeline}`, or materialize {pipeline}/release_candidate.",
        )
    return found


def newest_row(lake: Lake, pipeline: str, version: str) -> dict[str, Any] | None:
    """The same with every column of the table."""
    rows = RELEASES.query(
        lake, pipeline, "SELECT * FROM {t} WHERE version = ? ORDER BY created_at DESC LIMIT 1", [version]
    )
    return rows[0] if rows else None


def record(lake: Lake, pipeline: str, row: dict[str, Any], commit: Commit) -> None:
    """Append a release; `row` has the columns of `RELEASES`."""
    lake.append([RELEASES.rows(pipeline, [row])], commit)


def digest(lake: Lake, pipeline: str, folder: str) -> str | None:
    """SHA-256 of a release's manifest, as it was registered; None where no release of that folder was.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        folder: Relative to the releases folder.
    """
    sql = "SELECT sha256 FROM {t} WHERE folder = ? ORDER BY created_at DESC LIMIT 1"
    rows = RELEASES.query(lake, pipeline, sql, [folder])
    return str(rows[0]["sha256"]) if rows else None


def made(lake: Lake, pipeline: str) -> list[dict[str, Any]]:
    """Every release in the order of packing: version, folder and bundle, with the SHA-256 of their manifests."""
    sql = "SELECT version, folder, sha256, bundle, bundle_sha256 FROM {t} ORDER BY created_at"
    return RELEASES.query(lake, pipeline, sql)


def folders(lake: Lake, pipeline: str) -> set[str]:
    """Every folder that a release was packed into."""
    return {row["folder"] for row in RELEASES.query(lake, pipeline, "SELECT DISTINCT folder FROM {t}")}
