"""A pipeline with features and a training set in a lake, without any run of Dagster."""

from __future__ import annotations

import copy
from typing import Any

from ml_assets.graph.training.pinning import make_pin
from ml_assets.lake.lake import Commit, Lake
from ml_assets.spec import PipelineSpec
from ml_assets.tables.data import FEATURES, VALIDATED_DATA
from ml_assets.tables.training_sets import Pin
from ml_assets_tests.conftest import SPEC, loans

KEY = {"batch": "VARCHAR", "row_id": "BIGINT"}


def spec_of(candidate: dict[str, Any], **tuning: Any) -> PipelineSpec:
    """The pipeline of `loans` with one candidate, called `slow`."""
    declared = copy.deepcopy(SPEC) | {"candidates": {"slow": candidate}, "tuning": tuning}
    return PipelineSpec.model_validate(declared)


def written(lake: Lake, spec: PipelineSpec) -> Pin:
    """Write five batches of features and outcomes; the training set over them."""
    for batch in range(1, 6):
        rows = [
            {**row, "batch": str(batch), "row_id": number}
            for number, row in enumerate(loans(batch)[["income", "region", "late_days"]].to_dict("records"))
        ]
        features = [{name: value for name, value in row.items() if name != "late_days"} for row in rows]
        known = [{name: row[name] for name in (*KEY, "late_days")} for row in rows]
        puts = [
            FEATURES.put("loans", lake.values({**KEY, "income": "DOUBLE", "region": "VARCHAR"}, features), str(batch)),
            VALIDATED_DATA.put("loans", lake.values({**KEY, "late_days": "DOUBLE"}, known), str(batch)),
        ]
        lake.replace(puts, Commit("loans/features", "r"))
    return make_pin(lake, spec)
