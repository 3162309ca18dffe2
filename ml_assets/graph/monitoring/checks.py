"""Checks of the monitoring stage."""

import dagster as dg

from ml_assets.graph.checks import BatchCheck, Verdict, batch_checks
from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import table
from ml_assets.spec import PipelineSpec


def monitoring_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    calm = BatchCheck(
        "no_drift",
        f"Less than {spec.monitoring.drift_share:.0%} of the model's importance is in drifted columns.",
        lambda lake, batch: _no_drift(lake, f"{spec.name}.drift_report", batch),
        blocking=False,
    )
    return [batch_checks(spec, "drift_report", [calm])]


def _no_drift(lake: Lake, name: str, batch: str) -> Verdict:
    rows = lake.rows(
        f"SELECT drifted, share, weighted_share, model_version, why FROM {table(name)} WHERE batch = ?", [batch]
    )
    if not rows:
        return Verdict(False, {}, f"{name} has no report of batch {batch}")
    (row,) = rows
    shown = {
        asset_name: row[asset_name]
        for asset_name in ("weighted_share", "share", "model_version")
        if row[asset_name] is not None
    }
    return Verdict(row["drifted"] is not True, shown, row["why"])
