"""online_report and its checks as Dagster definitions."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from ml_assets.atomic import short_hash
from ml_assets.graph import declare
from ml_assets.graph.checks import BatchCheck, Verdict, batch_checks
from ml_assets.graph.code_version import code_version
from ml_assets.graph.monitoring import measuring, online, performance, samples, verdict
from ml_assets.graph.monitoring.assets import drift_metadata, kept_run
from ml_assets.graph.monitoring.performance_assets import performance_metadata
from ml_assets.lake.lake import Lake, Put, Written
from ml_assets.lake.paths import Paths
from ml_assets.pages import addresses
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import drift, evaluations, prediction_log, versions
from ml_assets.tables import performance as live_scores
from ml_assets.tables.prediction_log import PREDICTION_LOG
from ml_assets.tables.table import ONLINE

STAGE = "monitoring"
NAME = "online_report"


def online_assets(spec: PipelineSpec) -> list[dg.AssetsDefinition]:
    """The asset of what was measured in real time; none where the YAML turns the log off."""
    return [] if spec.serving.log is None else [_online_report(spec)]


def online_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The checks of drift and live scores, of the day of each hour."""
    if spec.serving.log is None:
        return []
    checks = [
        BatchCheck(
            "no_drift",
            "What was asked that day has not drifted from what the champion was fitted on.",
            lambda lake, hour: _no_drift(lake, spec.name, f"{ONLINE}{hour[:10]}"),
            blocking=False,
        ),
        BatchCheck(
            "no_decay",
            f"The champion's {spec.performance_metric} of that day keeps up with its test score.",
            lambda lake, hour: _no_decay(lake, spec.name, f"{ONLINE}{hour[:10]}"),
            blocking=False,
        ),
    ]
    return [batch_checks(spec, NAME, checks, by_hour=True)]


def _no_drift(lake: Lake, pipeline: str, batch: str) -> Verdict:
    found = drift.verdicts(lake, pipeline, batch)
    if not found:
        return Verdict(True, {}, "the champion predicted nothing that day")
    return Verdict(found[0]["drifted"] is not True, {"model_version": found[0]["model_version"]}, found[0]["why"])


def _no_decay(lake: Lake, pipeline: str, batch: str) -> Verdict:
    found = live_scores.verdict(lake, pipeline, batch)
    if found is None:
        return Verdict(True, {}, "no feedback on the day's predictions yet")
    return Verdict(not found["decayed"], {"model_version": found["model_version"]}, found["why"])


def _online_report(spec: PipelineSpec) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, NAME)

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, PREDICTION_LOG)],
        description="The day of each hour, and each day that new feedback is about: what was asked against what the "
        "champion was fitted on, and what was predicted against the outcomes. Rows of drift_report and "
        "performance_report, as batches `online YYYY-MM-DD`.",
        **declare.common(
            spec,
            STAGE,
            code_version([online, measuring, verdict, performance], spec.target, spec.monitoring),
            {"evidently", "duckdb"},
            by_hour=True,
        ),
    )
    def online_report(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[Any]]:
        store, hours = lake.open(), sorted(context.partition_keys)
        made: list[str] = []
        with user_errors(pipeline=spec.name):
            for day in prediction_log.days_touched(store, spec, hours):
                started = time.monotonic()
                written, metadata = _measure(context, store, lake.paths, spec, day)
                metadata["seconds"] = round(time.monotonic() - started, 3)
                made += [one.data_version for one in written]
                context.log.info(f"{ONLINE}{day}: {metadata.get('why', '')} {metadata.get('verdict', '')}")
                metadata = declare.shown(metadata, addresses.batch(spec.name, f"{ONLINE}{day}"))
                for hour in (hour for hour in hours if hour.startswith(day)):
                    context.add_asset_metadata(metadata, asset_key=key, partition_key=hour)
        yield dg.MaterializeResult(data_version=dg.DataVersion(short_hash(" ".join(made))))

    return online_report


def _measure(
    context: dg.AssetExecutionContext, lake: Lake, paths: Paths, spec: PipelineSpec, day: str
) -> tuple[list[Written], declare.Metadata]:
    """Measure a day and write what was found."""
    opened = online.open_day(lake, spec, day)
    rows = online.performance_rows(lake, paths, spec, opened) if opened.versions else []
    puts = [live_scores.put(lake, spec.name, rows, opened.batch)]
    metadata = performance_metadata(lake, spec, rows)
    moved = _drift(context, lake, paths, spec, opened) if opened.versions else None
    if moved is not None:
        puts.append(moved[0])
        metadata |= moved[1]
    return lake.replace(puts, declare.commit(context, context.asset_key)), metadata


def _drift(
    context: dg.AssetExecutionContext, lake: Lake, paths: Paths, spec: PipelineSpec, day: online.Day
) -> tuple[Put, declare.Metadata] | None:
    """The row of `drift_report` and its report; None where the champion predicted nothing that day."""
    champion = versions.alias(lake, spec.name, "champion")
    if champion is None or champion.version not in {version.number for version in day.versions}:
        return None
    rules, left_out = spec.monitoring, spec.serving.log.leave_out if spec.serving.log else []
    by = samples.watched(lake, paths, spec.name, champion, rules.sample)
    how = measuring.measures(by.loaded.schema.features, rules.columns)
    how = {name: measure for name, measure in how.items() if name not in left_out}
    current, rows = online.sample(lake, by, rules.sample, left_out)
    if current is None:
        return None
    importance = evaluations.importance_of(lake, spec.name, champion.version)
    found = verdict.judged(current, by.reference, how, importance, rules, rows)
    names = [f"{spec.name}/drift/{day.batch.replace(' ', '-')}.{end}" for end in ("html", "json")]
    shown = kept_run(context, paths, spec.name, day.batch, by, how, found, current, names) if found.columns else {}
    row = found.as_row(day.batch, champion.version, *(names if shown else (None, None)))
    put = drift.put(lake, spec.name, row, day.batch)
    return put, drift_metadata(found, champion.version) | shown
