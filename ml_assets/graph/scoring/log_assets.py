"""prediction_log and its check as Dagster definitions."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from ml_assets.atomic import short_hash
from ml_assets.graph import declare
from ml_assets.graph.checks import BatchCheck, Verdict, batch_checks
from ml_assets.graph.code_version import code_version
from ml_assets.graph.scoring import prediction_log as logic
from ml_assets.lake.lake import Lake
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import prediction_log as tables
from ml_assets.tables.decisions import DECISIONS
from ml_assets.tables.prediction_log import PREDICTION_LOG

STAGE = "scoring"
NAMED = 5  # lines in the text of the check


def log_assets(spec: PipelineSpec) -> list[dg.AssetsDefinition]:
    """The asset of what servers predicted; none where the YAML turns the log off."""
    return [] if spec.serving.log is None else [_prediction_log(spec)]


def log_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The check of what was read."""
    if spec.serving.log is None:
        return []
    whole = BatchCheck(
        "every_line_is_read",
        "No line of the hour's segments is damaged. A segment with a damaged line stays where it is.",
        lambda lake, hour: _every_line(lake, spec.name, hour),
        blocking=False,
    )
    return [batch_checks(spec, PREDICTION_LOG.name, [whole], by_hour=True)]


def _prediction_log(spec: PipelineSpec) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, PREDICTION_LOG)

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, DECISIONS)],
        description="Each row that servers predicted, and the feedback that came back, from their logs in "
        "`data/serving`: every record once.",
        metadata={"dagster/column_schema": declare.column_schema(PREDICTION_LOG.types, PREDICTION_LOG.descriptions)},
        **declare.common(spec, STAGE, code_version([logic]), {"duckdb"}, by_hour=True),
    )
    def prediction_log(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[Any]]:
        store, hours = lake.open(), sorted(context.partition_keys)
        with user_errors(pipeline=spec.name):
            for hour in hours:
                started = time.monotonic()
                found = logic.ingest(store, lake.paths, spec.name, hour, declare.commit(context, key))
                metadata = _metadata(found, time.monotonic() - started)
                context.add_asset_metadata(metadata, asset_key=key, partition_key=hour)
        read = tables.segments(store, spec.name, hours)
        yield dg.MaterializeResult(
            metadata={"dagster/row_count": store.count(PREDICTION_LOG.of(spec.name))},
            data_version=dg.DataVersion(short_hash(str(sorted((one.segment, one.bytes) for one in read.values())))),
        )

    return prediction_log


def _metadata(found: logic.Ingested, seconds: float) -> declare.Metadata:
    return {
        "new_rows": found.rows,
        "new_outcomes": found.outcomes,
        "segments_read": found.segments,
        "segments_removed": found.removed,
        "snapshot": found.written.snapshot_id,
        "seconds": round(seconds, 3),
    }


def _every_line(lake: Lake, pipeline: str, hour: str) -> Verdict:
    read = tables.segments(lake, pipeline, [hour]).values()
    damaged = [f"{one.segment}, {text}" for one in read for text in one.rejected]
    numbers: declare.Metadata = {"segments": len(read), "lines": sum(one.lines for one in read)}
    more = f"; {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
    return Verdict(not damaged, {**numbers, "damaged_lines": len(damaged)}, "; ".join(damaged[:NAMED]) + more or None)
