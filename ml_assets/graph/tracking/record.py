"""What a tracker is told of a version, collected from the lake: its own run, a run per candidate, a run per trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.tables import candidates, evaluations, trials
from ml_assets.tables.versions import ModelVersion

# Scopes of the evaluation that are one number a metric: scope -> prefix of the metric's name.
NUMBERS = {
    "test": "test_",
    "train": "train_",
    "baseline": "baseline_",
    "gain_over_baseline": "gain_over_baseline_",
    "gain_over_champion": "gain_over_champion_",
    "calibration": "calibration_",
}


@dataclass
class TrackedRun:
    """One run of a tracker.

    Args:
        name: What people see.
        tags: Further facts, as text.
        params: Parameters, as text.
        metrics: Numbers; undefined ones are left out.
        files: Folder in the tracker -> files or folders that go there.
        children: Runs within this one.
    """

    name: str
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    files: dict[str, list[Path]] = field(default_factory=dict)
    children: list[TrackedRun] = field(default_factory=list)


def collect(lake: Lake, paths: Paths, pipeline: str, model: ModelVersion) -> TrackedRun:
    """A version with its scores, its bundle, its report, its candidates and their trials."""
    tuned = list(candidates.newest(lake, pipeline, model.pin_id).values())
    tried = trials.newest(lake, pipeline, model.pin_id)
    winner = next((row for row in tuned if row["candidate"] == model.candidate), {})
    folder, reports = f"{pipeline}/evaluation", paths.artifacts.reports
    report = [name for name in reports.names(folder) if name.startswith(f"{model.version}.")]
    return TrackedRun(
        name=f"{pipeline} {model.version}",
        tags={
            "ml_assets.version": model.version,
            "ml_assets.candidate": model.candidate,
            "ml_assets.pin": model.pin_id,
            "ml_assets.snapshot": str(model.snapshot_id),
            "ml_assets.train_batches": ", ".join(model.train_batches),
            "ml_assets.bundle_sha256": model.bundle_sha256,
        },
        params={"candidate": model.candidate, "threshold": str(model.threshold), **_params(winner)},
        metrics=_evaluated(lake, pipeline, model.version) | _defined({"validation_score": model.validation_score}),
        files={
            "bundle": sorted(paths.artifacts.bundles.fetch(model.bundle).iterdir()),
            "report": [reports.fetch(f"{folder}/{name}") for name in report],
        },
        children=[_candidate(row, [t for t in tried if t["candidate"] == row["candidate"]]) for row in tuned],
    )


def _evaluated(lake: Lake, pipeline: str, version: str) -> dict[str, float]:
    rows = evaluations.newest(lake, pipeline, [version], list(NUMBERS))
    return _defined({NUMBERS[row["scope"]] + row["metric"]: row["value"] for row in rows if row["slice_by"] is None})


def _candidate(row: Mapping[str, Any], trials: list[dict[str, Any]]) -> TrackedRun:
    scores = ("cv_score", "cv_std", "validation_score", "train_score", "baseline_score", "seconds")
    return TrackedRun(
        name=row["candidate"],
        tags={"ml_assets.estimator": row["estimator"], "ml_assets.metric": row["metric"]},
        params=_params(row),
        metrics=_defined({name: row[name] for name in scores}),
        children=[_trial(trial) for trial in trials],
    )


def _trial(row: Mapping[str, Any]) -> TrackedRun:
    said = {"error": row["error"], "warning": row["warning"], "state": row.get("state")}
    return TrackedRun(
        name=f"{row['candidate']} {row['trial']}",
        tags={f"ml_assets.{name}": text for name, text in said.items() if text},
        params=_params(row),
        metrics=_defined({row["metric"]: row["score"], "seconds": row["seconds"]}),
    )


def _params(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in row["params"].items()} if row else {}


def _defined(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)}
