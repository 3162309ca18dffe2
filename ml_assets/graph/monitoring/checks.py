"""Checks of the monitoring stage."""

import dagster as dg

from ml_assets.graph.checks import BatchCheck, Verdict, batch_checks
from ml_assets.lake.lake import Lake
from ml_assets.spec import PipelineSpec
from ml_assets.tables import drift
from ml_assets.tables.drift import DRIFT


def monitoring_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    calm = BatchCheck(
        "no_drift",
        f"Less than {spec.monitoring.drift_share:.0%} of the model's importance is in drifted columns.",
        lambda lake, batch: _no_drift(lake, spec.name, batch),
        blocking=False,
    )
    return [batch_checks(spec, DRIFT.name, [calm])]


def _no_drift(lake: Lake, pipeline: str, batch: str) -> Verdict:
    rows = drift.verdicts(lake, pipeline, batch)
    if not rows:
        return Verdict(False, {}, f"{DRIFT.of(pipeline)} has no report of batch {batch}")
    (row,) = rows
    shown = {name: row[name] for name in ("weighted_share", "share", "model_version") if row[name] is not None}
    return Verdict(row["drifted"] is not True, shown, row["why"])
