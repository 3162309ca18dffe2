"""performance_report and its check as Dagster definitions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from ml_assets.graph import declare
from ml_assets.graph.batches import Result, each_batch
from ml_assets.graph.checks import BatchCheck, Verdict, batch_checks
from ml_assets.graph.code_version import code_version
from ml_assets.graph.monitoring import performance
from ml_assets.lake.lake import Lake
from ml_assets.ml import estimators
from ml_assets.reporting.markdown import markdown_table
from ml_assets.reporting.score_plot import score_plot
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.tables import performance as live_scores
from ml_assets.tables.data import VALIDATED_DATA
from ml_assets.tables.outcomes import OUTCOMES
from ml_assets.tables.performance import PERFORMANCE
from ml_assets.tables.predictions import PREDICTIONS

STAGE = "monitoring"
Rows = Sequence[Mapping[str, Any]]


def performance_assets(spec: PipelineSpec) -> list[dg.AssetsDefinition]:
    """The asset of live scores."""
    return [_performance_report(spec)]


def performance_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The check of live scores."""
    holds = BatchCheck(
        "no_decay",
        f"The champion's {spec.performance_metric} keeps up with its test score, as far as outcomes are known.",
        lambda lake, batch: _no_decay(lake, spec.name, batch),
        blocking=False,
    )
    return [batch_checks(spec, PERFORMANCE.name, [holds])]


def _no_decay(lake: Lake, pipeline: str, batch: str) -> Verdict:
    found = live_scores.verdict(lake, pipeline, batch)
    if found is None:
        return Verdict(True, {}, "no outcome of the batch is known yet")
    numbers = {name: found[name] for name in ("value", "test_score", "rows") if found[name] is not None}
    return Verdict(not found["decayed"], numbers, found["why"])


def _performance_report(spec: PipelineSpec) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, PERFORMANCE)
    read = [PREDICTIONS, VALIDATED_DATA, *([OUTCOMES] if spec.outcomes else [])]
    version = code_version([performance, estimators], spec.target, spec.performance_metric, spec.monitoring.performance)

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, table) for table in read],
        description="Every version that scored the batch against the outcomes that are known, on the same rows, beside "
        "its test score. Without an outcome it is empty.",
        metadata={"dagster/column_schema": declare.column_schema(PERFORMANCE.types, PERFORMANCE.descriptions)},
        **declare.common(spec, STAGE, version, {"duckdb"}, by_batch=True),
    )
    def performance_report(
        context: dg.AssetExecutionContext, lake: LakeResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        store = lake.open()

        def work(batch: str) -> Mapping[dg.AssetKey, Result]:
            rows = performance.report(store, lake.paths, spec, batch)
            put = live_scores.put(store, spec.name, rows, batch)
            (written,) = store.replace([put], declare.commit(context, key, batch))
            return {key: Result(written, performance_metadata(store, spec, rows))}

        yield from each_batch(context, store, [key], work)

    return performance_report


def performance_metadata(lake: Lake, spec: PipelineSpec, rows: Rows) -> declare.Metadata:
    """What Dagster shows of live scores."""
    if not rows:
        return {"rows_with_outcome": 0, "verdict": "No outcome of the batch is known yet."}
    metadata: declare.Metadata = {
        "rows_with_outcome": rows[0]["rows"],
        "versions": dg.MetadataValue.md(_by_version(rows)),
    }
    for row in (row for row in rows if row["judged"]):
        numbers = {
            "score": "value",
            "score_low": "low",
            "score_high": "high",
            "test_score": "test_score",
            "drop": "drop",
        }
        metadata |= {word: row[name] for word, name in numbers.items() if row[name] is not None}
        metadata |= {"model_version": row["model_version"], "metric": row["metric"], "verdict": row["why"]}
        metadata |= {} if row["decayed"] is None else {"decayed": row["decayed"]}
        metadata["plot"] = dg.MetadataValue.md(
            score_plot(row["metric"], live_scores.verdicts(lake, spec.name, metric=row["metric"]))
        )
    return metadata


def _by_version(rows: Rows) -> str:
    """A line for each version, a column for each metric."""
    lines: dict[str, dict[str, object]] = {}
    for row in rows:
        line = {"version": row["model_version"], "role": row["role"], "has seen it": row["seen"]}
        lines.setdefault(row["model_version"], line)[row["metric"]] = row["value"]
    return markdown_table(list(lines.values()))
