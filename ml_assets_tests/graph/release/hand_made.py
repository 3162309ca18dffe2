"""Registered and evaluated versions without any training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.ml import bundle
from ml_assets.spec import PipelineSpec
from ml_assets.tables import evaluations, training_sets, versions
from ml_assets.tables.evaluations import EvaluatedNumber
from ml_assets.tables.training_sets import Pin
from ml_assets_tests.conftest import SPEC

BY = Commit(asset="loans/champion", run_id="run", triggered_by="schedule loans_retrain_cron")
SCHEMA = bundle.Schema(
    kind="binary",
    target="late",
    columns={"loan": "integer"},
    features={"income": "number"},
    classes=[],
    threshold=0.5,
    estimator="sklearn.tree.DecisionTreeClassifier",
)


def spec(**gates: Any) -> PipelineSpec:
    """The tests' pipeline with ROC AUC of 0.6 demanded, and whatever else is said."""
    demanded = {"metrics": {"roc_auc": {"min": 0.6}}, "leakage": None, "refit": None, "serving": None, **gates}
    return PipelineSpec.model_validate({**copy.deepcopy(SPEC), "gates": demanded})


def add_version(
    lake: Lake,
    paths: Paths,
    version: str,
    roc_auc: float = 0.8,
    gain: float | None = None,
    schema: str = "s",
    params: dict[str, Any] | None = None,
    more: Sequence[EvaluatedNumber] = (),
) -> None:
    """Save a bundle, register the version, and evaluate it; `gain` is what it gains over the champion."""
    folder = paths.bundles / "loans" / version
    digest = bundle.save(folder, {"version": version}, SCHEMA, {"features.sql": f"SELECT '{version}'"})
    batches = {"train": ["1", "2"], "validation": ["3"], "test": ["4"]}
    rows = {"train": 200, "validation": 100, "test": 100}
    by = {"by": "batch", "validation": 1, "test": 1}
    pin = Pin(f"pin-{version}", 1, batches, rows, {"income": "number"}, "late_days > 10", by, 0)
    training_sets.save(lake, "loans", pin, BY)
    record = {
        "version": version,
        "candidate": "tree",
        "estimator": "sklearn.tree.DecisionTreeClassifier",
        "params": params or {"max_depth": 3},
        "pin_id": pin.pin_id,
        "snapshot_id": 1,
        "train_batches": ["1", "2", "3"],
        "recipe": {"schema": schema, "method": "m"},
        "fingerprint": version,
        "validation_score": 0.75,
        "threshold": 0.5,
        "bundle": f"loans/{version}",
        "bundle_sha256": digest,
        "code_version": "c0de",
        "run_id": "run",
        "git_commit": "abc123",
        "triggered_by": "sensor loans_retrain",
    }
    versions.register(lake, "loans", record, BY)
    evaluate(lake, version, roc_auc, gain, more)


def evaluate(
    lake: Lake, version: str, roc_auc: float = 0.8, gain: float | None = None, more: Sequence[EvaluatedNumber] = ()
) -> None:
    """Append an evaluation of a version."""
    found = [
        EvaluatedNumber("test", "roc_auc", roc_auc, 100, roc_auc - 0.05, roc_auc + 0.05),
        EvaluatedNumber("train", "roc_auc", 0.85, 300),
        *more,
    ]
    if gain is not None:
        found.append(EvaluatedNumber("gain_over_champion", "roc_auc", gain, 100, gain - 0.01, gain + 0.01))
    evaluations.record(lake, "loans", found, version, f"pin-{version}", BY)
