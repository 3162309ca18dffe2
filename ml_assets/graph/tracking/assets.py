"""mlflow_runs and mlflow_model as Dagster assets; only pipelines that declare `tracking` have them."""

from typing import Any

import dagster as dg

from ml_assets.graph import declare
from ml_assets.graph.code_version import code_version
from ml_assets.graph.mlflow_server import shown
from ml_assets.graph.run_model import model_of_run
from ml_assets.graph.tracking.mlflow_model import PackedVersion, register
from ml_assets.graph.tracking.mlflow_runs import export
from ml_assets.graph.tracking.record import collect
from ml_assets.ml import bundle
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import releases, versions
from ml_assets.tables.decisions import DECISIONS
from ml_assets.tables.evaluations import EVALUATIONS
from ml_assets.tables.releases import RELEASES
from ml_assets.tables.versions import VERSIONS

STAGE = "tracking"


def tracking_assets(spec: PipelineSpec) -> list[dg.AssetsDefinition]:
    """The stage's assets for one pipeline."""
    return [make(spec, spec.tracking.mlflow) for make in (_mlflow_runs, _mlflow_model)] if spec.tracking else []


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
            _, model = model_of_run(store, spec.name, context.run.run_id)
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


def _mlflow_model(spec: PipelineSpec, uri: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=declare.asset_key(spec, "mlflow_model"),
        deps=[declare.asset_key(spec, name) for name in ("mlflow_runs", RELEASES, DECISIONS)],
        description="The release as a version of MLflow's registered model, in two flavours: ONNX, and a pyfunc that "
        "takes raw rows. Its alias `champion` follows ours.",
        **declare.common(spec, STAGE, code_version([register.__module__], spec.tracking), {"mlflow", "onnx"}),
    )
    def mlflow_model(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        store, paths = lake.open(), lake.paths
        with user_errors(pipeline=spec.name):
            _, model = model_of_run(store, spec.name, context.run.run_id)
            packed = releases.need(store, spec.name, model.version)
            folder = paths.artifacts.releases.fetch(packed.folder)
            release = PackedVersion(spec.name, model.version, folder, packed.sha256)
            number = register(uri, release, lambda: versions.alias(store, spec.name, "champion"))
        return dg.MaterializeResult(metadata={"version": model.version, "mlflow_version": number, "server": shown(uri)})

    return mlflow_model
