"""Checks of the scoring stage."""

from dataclasses import asdict

import dagster as dg

from ml_assets.graph.checks import BatchCheck, Verdict, batch_checks
from ml_assets.graph.declare import Metadata
from ml_assets.graph.scoring import skew
from ml_assets.lake.lake import Lake
from ml_assets.reporting.markdown import markdown_table
from ml_assets.spec import PipelineSpec
from ml_assets.tables import predictions
from ml_assets.tables.data import VALIDATED_DATA
from ml_assets.tables.predictions import PREDICTIONS

NAMED, SHOWN = 5, 20  # columns in the text, and in the table


def scoring_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    once = BatchCheck(
        "every_row_is_scored_once",
        "By each version one score per validated row, none missing, none NULL; one of the versions is the champion, "
        "and each row is routed to one of them.",
        lambda lake, batch: _scored_once(lake, spec.name, batch),
    )
    alike = BatchCheck(
        "training_serving_skew",
        "Rows that servers were asked before, found by the key, have the same columns, features and score in the "
        "batch, to 1e-9.",
        lambda lake, batch: _no_skew(lake, spec, batch),
        blocking=False,
    )
    compared = [alike] if spec.serving.log and spec.key else []
    return [batch_checks(spec, PREDICTIONS.name, [once, *compared])]


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


def _no_skew(lake: Lake, spec: PipelineSpec, batch: str) -> Verdict:
    rows, differences = skew.compare(lake, spec, batch)
    if not rows:
        return Verdict(True, {"logged_rows": 0}, "no logged request of this batch")
    metadata: Metadata = {"logged_rows": rows, "columns_that_differ": len(differences)}
    if not differences:
        return Verdict(True, metadata)
    metadata["differences"] = dg.MetadataValue.md(markdown_table([asdict(one) for one in differences[:SHOWN]]))
    texts = [
        f"{one.column}: {one.rows:,} rows" + ("" if one.largest is None else f", by up to {one.largest:.4g}")
        for one in differences[:NAMED]
    ]
    more = f"; {len(differences) - NAMED} more columns" if len(differences) > NAMED else ""
    return Verdict(False, metadata, f"of {rows:,} logged rows of this batch differ in {'; '.join(texts)}{more}")
