"""Checks of the scoring stage."""

import dagster as dg

from ml_assets.graph.checks import BatchCheck, Verdict, batch_checks
from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import table
from ml_assets.spec import PipelineSpec


def scoring_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    once = BatchCheck(
        "every_row_is_scored_once",
        "By each version one score per validated row, none missing, none NULL; one of the versions is the champion.",
        lambda lake, batch: _scored_once(lake, spec.name, batch),
    )
    return [batch_checks(spec, "predictions", [once])]


def _scored_once(lake: Lake, pipeline: str, batch: str) -> Verdict:
    name = f"{pipeline}.predictions"
    validated = lake.count(f"{pipeline}.validated_data", batch)
    if not lake.exists(name):
        return Verdict(False, {}, f"{name} has no rows yet")
    found = lake.rows(
        f"""SELECT model_version, role, count(*) AS rows, count(DISTINCT row_id) AS ids,
        count(*) FILTER (score IS NULL OR isnan(score)) AS missing FROM {table(name)} WHERE batch = ? GROUP BY ALL""",
        [batch],
    )
    champions = sum(version["role"] == "champion" for version in found)
    whole = all(version["rows"] == version["ids"] == validated > 0 and not version["missing"] for version in found)
    return Verdict(
        champions == 1 and whole,
        {
            "rows": sum(version["rows"] for version in found),
            "validated_rows": validated,
            "missing_scores": sum(version["missing"] for version in found),
            "versions": len(found),
        },
    )
