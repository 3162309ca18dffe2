"""drift_report as a Dagster asset."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ml_assets.graph import steps
from ml_assets.graph.code_version import code_version
from ml_assets.graph.monitoring import drift
from ml_assets.graph.monitoring.pictures import drift_picture
from ml_assets.graph.steps import Result
from ml_assets.ml import bundle
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.store import registry
from ml_assets.store.lake import Put

STAGE = "monitoring"


def monitoring_assets(spec: PipelineSpec) -> list[dg.AssetsDefinition]:
    """The stage's assets for one pipeline."""
    return [_drift_report(spec)]


def _drift_report(spec: PipelineSpec) -> dg.AssetsDefinition:
    key = steps.asset_key(spec, "drift_report")

    @dg.asset(
        key=key,
        deps=[steps.asset_key(spec, "predictions")],
        description="Evidently: the batch's features and predictions against the rows that the champion was fitted on.",
        metadata={"dagster/column_schema": steps.column_schema(drift.COLUMNS)},
        **steps.common(spec, STAGE, code_version(__name__, spec.monitoring), {"evidently"}, by_batch=True),
    )
    def drift_report(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[Any]]:
        store, paths, sample = lake.open(), lake.paths, spec.monitoring.sample
        with steps.user_errors(pipeline=spec.name):
            model = registry.need_alias(store, spec.name, "champion")
            loaded = bundle.load(paths.bundles / model.bundle, model.bundle_sha256)
            reference = drift.reference_frame(store, spec.name, model, loaded, sample)

        def work(batch: str) -> Mapping[dg.AssetKey, Result]:
            current, rows = drift.current_frame(store, spec.name, batch, loaded, sample)
            page = paths.reports / spec.name / "drift" / f"{batch}.html"
            found = drift.compare(current, reference, loaded.schema, spec.monitoring.drift_share, rows, page)
            row = found.as_row(batch, model.version, str(page.relative_to(paths.reports)))
            put = Put(steps.table_of(key), store.values(drift.COLUMNS, [row]), batch)
            (written,) = store.replace([put], steps.commit(context, key, batch))
            return {key: Result(written, _metadata(found, model.version) | steps.page_links(paths, page))}

        yield from steps.each_batch(context, store, [key], work)

    return drift_report


def _metadata(found: drift.Drift, version: str) -> steps.Metadata:
    ordered = sorted(found.columns, key=lambda column: column.score / (column.threshold or 1), reverse=True)
    # Dagster shows Markdown at once only below 1,000 characters; the page and the table in the lake have every column.
    rows = [{"column": c.column, "distance": c.score, "limit": c.threshold, "drifted": c.drifted} for c in ordered[:15]]
    return {
        "drifted": found.drifted,
        "drifted_share": found.share,
        "drifted_columns": sum(column.drifted for column in found.columns),
        "model_version": version,
        "columns": dg.MetadataValue.md(steps.markdown_table(rows)),
        "picture": dg.MetadataValue.md(drift_picture(ordered)),
    }
