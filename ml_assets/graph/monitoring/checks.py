"""Checks of the monitoring stage."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from ml_assets.graph import steps
from ml_assets.graph.steps import Verdict
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.store.lake import Lake
from ml_assets.store.sql import table


def monitoring_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    return [_drift_checks(spec)]


def _drift_checks(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    key = steps.asset_key(spec, "drift_report")

    @dg.multi_asset_check(
        name=f"{spec.name}__drift_report_checks",
        specs=[
            dg.AssetCheckSpec(
                "no_drift",
                asset=key,
                partitions_def=steps.batches_of(spec),
                description=f"Fewer than {spec.monitoring.drift_share:.0%} of the columns have drifted.",
            )
        ],
    )
    def drift_report_checks(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[Any]:
        store = lake.open()
        judges = {"no_drift": lambda batch: _no_drift(store, steps.table_of(key), batch)}
        yield from steps.verdicts_by_batch(context, key, judges, warnings=["no_drift"])

    return drift_report_checks


def _no_drift(lake: Lake, name: str, batch: str) -> Verdict:
    rows = lake.rows(f"SELECT drifted, share, model_version FROM {table(name)} WHERE batch = ?", [batch])
    if not rows:
        return Verdict(False, {}, f"{name} has no report of batch {batch}")
    return Verdict(not rows[0]["drifted"], {"share": rows[0]["share"], "model_version": rows[0]["model_version"]})
