"""drift_report as a Dagster asset."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from ml_assets.graph import declare
from ml_assets.graph.batches import Result, each_batch
from ml_assets.graph.code_version import code_version
from ml_assets.graph.monitoring import history, measuring, samples, verdict
from ml_assets.lake.paths import Paths
from ml_assets.ml.drift_measures import Measure
from ml_assets.ml.reference import PREDICTION
from ml_assets.reporting import drift_report, html
from ml_assets.reporting.drift_plots import drift_plot
from ml_assets.reporting.markdown import markdown_table
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import drift, evaluations, versions
from ml_assets.tables.drift import DRIFT
from ml_assets.tables.predictions import PREDICTIONS

STAGE = "monitoring"
ON_DASHBOARD = 5


def monitoring_assets(spec: PipelineSpec) -> list[dg.AssetsDefinition]:
    """The stage's assets for one pipeline."""
    return [_drift_report(spec)]


def _drift_report(spec: PipelineSpec) -> dg.AssetsDefinition:
    key, rules = declare.asset_key(spec, DRIFT), spec.monitoring

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, PREDICTIONS)],
        description="Evidently: the batch's features and predictions against the rows that the champion was fitted on.",
        metadata={"dagster/column_schema": declare.column_schema(DRIFT.types, DRIFT.descriptions)},
        **declare.common(
            spec, STAGE, code_version([drift, measuring, samples], spec.monitoring), {"evidently"}, by_batch=True
        ),
    )
    def drift_report(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[Any]]:
        store, paths = lake.open(), lake.paths
        with user_errors(pipeline=spec.name):
            model = versions.need_alias(store, spec.name, "champion")
            by = samples.watched(store, paths, spec.name, model, rules.sample)
            how = measuring.measures(by.loaded.schema.features, rules.columns)
            importance = evaluations.importance_of(store, spec.name, model.version)

        def work(batch: str) -> Mapping[dg.AssetKey, Result]:
            current, rows = samples.sample_of(store, spec.name, batch, by, rules.sample)
            found = verdict.judged(current, by.reference, how, importance, rules, rows)
            names = [f"{spec.name}/drift/{batch}.{end}" for end in ("html", "json")]
            shown = kept_run(context, paths, spec.name, batch, by, how, found, current, names) if found.columns else {}
            row = found.as_row(batch, model.version, *(names if shown else (None, None)))
            put = drift.put(store, spec.name, row, batch)
            (written,) = store.replace([put], declare.commit(context, key, batch))
            return {key: Result(written, drift_metadata(found, model.version) | shown)}

        yield from each_batch(context, store, [key], work)

    return drift_report


def kept_run(
    context: dg.AssetExecutionContext,
    paths: Paths,
    pipeline: str,
    batch: str,
    by: samples.Watched,
    how: Mapping[str, Measure],
    found: drift.BatchDrift,
    current: Any,
    names: Sequence[str],
) -> declare.Metadata:
    """Keep the report, its JSON and the run in the history; where the history fails, only the history is lost."""
    project = history.project_folder(paths.evidently, history.project_name(pipeline, batch))
    now, trouble = dt.datetime.now(dt.UTC).replace(tzinfo=None), ""
    try:
        moment = history.moment(batch, history.moments(project), now)
    except (OSError, ValueError) as error:
        moment, trouble = now, str(error)
    run = _reported_run(paths, batch, by, how, found, current, names, moment)
    if not trouble:
        ranked = sorted(found.columns, key=lambda column: -column.importance)
        leading = [column.column for column in ranked if column.column != PREDICTION][:ON_DASHBOARD]
        try:
            history.keep(paths.evidently, pipeline, batch, moment, run, leading)
        except Exception as error:  # whatever another version of Evidently or the disk may have against it
            trouble = f"{type(error).__name__}: {error}"
    if trouble:
        context.log.warning(f"The run is not in the history of `ml-assets monitor`: {trouble}")
    return declare.report_links(paths, names[0]) | ({"history": f"not kept: {trouble}"} if trouble else {})


def _reported_run(
    paths: Paths,
    batch: str,
    by: samples.Watched,
    how: Mapping[str, Measure],
    found: drift.BatchDrift,
    current: Any,
    names: Sequence[str],
    moment: dt.datetime,
) -> Any:
    """Evidently's run, written as our report and as its JSON under these names."""
    run = drift_report.run(current, by.reference.rows, found, how, batch, by.model.version, moment)
    pipeline, _, figures = names[1].split("/")
    shown = drift_report.page(found, current, by.reference.rows, pipeline, batch, by.model.version, figures)
    with paths.artifacts.reports.put(names[0]) as file:
        html.write(file, shown)
    with paths.artifacts.reports.put(names[1]) as file:
        html.write(file, run.json())
    return run


def drift_metadata(found: drift.BatchDrift, version: str) -> declare.Metadata:
    """What Dagster shows of a verdict."""
    # Dagster shows Markdown at once only below 1,000 characters; the report and the lake have every column.
    rows = [
        {
            "column": c.column,
            "distance": c.score,
            "limit": c.threshold,
            "drifted": c.drifted,
            "importance": c.importance,
        }
        for c in found.columns[:12]
    ]
    if found.drifted is None:
        return {"why": found.why, "model_version": version}
    prediction = [column.score for column in found.columns if column.column == PREDICTION]
    return {
        "why": found.why,
        "drifted": found.drifted,
        "weighted_share": found.weighted_share,
        "drifted_share": found.share,
        "drifted_columns": len(found.drifted_columns),
        "prediction_distance": prediction[0],
        "model_version": version,
        "columns": dg.MetadataValue.md(markdown_table(rows)),
        "plot": dg.MetadataValue.md(drift_plot(found.columns)),
    }
