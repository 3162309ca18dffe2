"""Checks of the scoring stage."""

import dagster as dg

from ml_assets.graph.checks import BatchCheck, Verdict, batch_checks
from ml_assets.lake.lake import Lake
from ml_assets.spec import PipelineSpec
from ml_assets.tables import predictions
from ml_assets.tables.data import VALIDATED_DATA
from ml_assets.tables.predictions import PREDICTIONS


def scoring_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    once = BatchCheck(
        "every_row_is_scored_once",
        "By each version one score per validated row, none missing, none NULL; one of the versions is the champion, "
        "and each row is routed to one of them.",
        lambda lake, batch: _scored_once(lake, spec.name, batch),
    )
    return [batch_checks(spec, PREDICTIONS.name, [once])]


def _scored_once(lake: Lake, pipeline: str, batch: str) -> Verdict:
    if not lake.exists(PREDICTIONS.of(pipeline)):
        return Verdict(False, {}, f"{PREDICTIONS.of(pipeline)} has no rows yet")
    validated, found = lake.count(VALIDATED_DATA.of(pipeline), batch), predictions.counts(lake, pipeline, batch)
    champions = sum(version["role"] == "champion" for version in found)
    is_routed_once = predictions.routed(lake, pipeline, batch) == (validated, validated)
    whole = all(version["rows"] == version["ids"] == validated > 0 and not version["missing"] for version in found)
    return Verdict(
        champions == 1 and whole and is_routed_once,
        {
            "rows": sum(version["rows"] for version in found),
            "validated_rows": validated,
            "missing_scores": sum(version["missing"] for version in found),
            "versions": len(found),
        },
    )
