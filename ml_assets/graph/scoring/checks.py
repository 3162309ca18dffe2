"""Checks of the scoring stage."""

import dagster as dg

from ml_assets.graph import steps
from ml_assets.graph.steps import BatchCheck, Verdict
from ml_assets.spec import PipelineSpec
from ml_assets.store.lake import Lake
from ml_assets.store.sql import table


def scoring_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    once = BatchCheck(
        "every_row_is_scored_once",
        "One score per validated row, none missing, none NULL, all by one version.",
        lambda lake, batch: _scored_once(lake, spec.name, batch),
    )
    return [steps.batch_checks(spec, "predictions", [once])]


def _scored_once(lake: Lake, pipeline: str, batch: str) -> Verdict:
    name = f"{pipeline}.predictions"
    validated = lake.count(f"{pipeline}.validated_data", batch)
    if not lake.exists(name):
        return Verdict(False, {}, f"{name} has no rows yet")
    rows, distinct, nulls, versions = lake.con.execute(
        f"""SELECT count(*), count(DISTINCT row_id), count(*) FILTER (score IS NULL OR isnan(score)),
        count(DISTINCT model_version) FROM {table(name)} WHERE batch = ?""",
        [batch],
    ).fetchall()[0]
    return Verdict(
        rows == distinct == validated and rows > 0 and nulls == 0 and versions == 1,
        {"rows": rows, "validated_rows": validated, "missing_scores": nulls, "versions": versions},
    )
