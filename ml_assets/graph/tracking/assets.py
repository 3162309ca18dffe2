"""mlflow_runs as a Dagster asset; only pipelines that declare `tracking` have it."""

from typing import Any

import dagster as dg

from ml_assets.graph import declare
from ml_assets.graph.code_version import code_version
from ml_assets.graph.step_errors import user_errors
from ml_assets.graph.tracking.mlflow_runs import export, shown
from ml_assets.graph.tracking.record import collect
from ml_assets.ml import bundle
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.tables import training_sets, versions
from ml_assets.tables.evaluations import EVALUATIONS
from ml_assets.tables.versions import VERSIONS

STAGE = "tracking"


def tracking_assets(spec: PipelineSpec) -> list[dg.AssetsDefinition]:
    """The stage's assets for one pipeline."""
    return [_mlflow_runs(spec, spec.tracking.mlflow)] if spec.tracking else []


def _mlflow_runs(spec: PipelineSpec, uri: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=declare.asset_key(spec, "mlflow_runs"),
        deps=[declare.asset_key(spec, EVALUATIONS), declare.asset_key(spec, VERSIONS)],
        description="The version copied to an MLflow server: a run for it, within it one for each candidate and trial.",
        **declare.common(spec, STAGE, code_version([export.__module__, collect.__module__], spec.tracking), {"mlflow"}),
    )
    def mlflow_runs(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        store, paths = lake.open(), lake.paths
        with user_errors(pipeline=spec.name):
            pin = training_sets.newest(store, spec.name, context.run.run_id)
            model = versions.of_pin(store, spec.name, pin.pin_id)
            fitted = bundle.load_sklearn(paths.artifacts.bundles.fetch(model.bundle), model.bundle_sha256)
            entry = collect(store, paths, spec.name, model)
            run_id = export(uri, spec.name, entry, fitted)
        return dg.MaterializeResult(
            metadata={
                "version": model.version,
                "mlflow_run": run_id,
                "runs": 1 + sum(1 + len(candidate.children) for candidate in entry.children),
                "server": shown(uri),
            }
        )

    return mlflow_runs
