"""Checks of the training stage."""

import dagster as dg

from ml_assets import metrics
from ml_assets.errors import ModelError
from ml_assets.graph import declare
from ml_assets.graph.checks import Verdict, blocking_check
from ml_assets.graph.run_model import model_of_run
from ml_assets.graph.training.pinning import stale_features
from ml_assets.ml import bundle, estimators
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import candidates, training_sets
from ml_assets.tables.training_sets import TRAINING_SETS
from ml_assets.tables.versions import VERSIONS

SAMPLE_ROWS = 1000


def training_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    return [_training_set_check(spec), *(_candidate_check(spec, name) for name in spec.candidates), _model_check(spec)]


def _training_set_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=declare.asset_key(spec, TRAINING_SETS),
        name="features_are_of_one_version",
        description="All batches of the training set have features made by the same SQL and code.",
    )
    def features_are_of_one_version(lake: LakeResource) -> dg.AssetCheckResult:
        with user_errors(pipeline=spec.name):
            stale = stale_features(lake.open(), spec)
        return dg.AssetCheckResult(
            passed=not stale,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"stale_batches": ", ".join(stale) or "none"},
            description=f"materialize {spec.name}/features for {', '.join(stale)}" if stale else None,
        )

    return features_are_of_one_version


def _candidate_check(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=declare.asset_key(spec, candidates.asset_name(name)),
        name="beats_baseline",
        description="On validation rows the candidate is better than a model that ignores every feature.",
    )
    def beats_baseline(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        with user_errors(pipeline=spec.name), lake.open().one_snapshot() as store:
            pin = training_sets.newest(store, spec.name, context.op_execution_context.run.run_id)
            row = candidates.newest(store, spec.name, pin.pin_id, spec.metric)[name]
        gain = metrics.METRICS[spec.metric].gain(row["validation_score"], row["baseline_score"])
        return dg.AssetCheckResult(
            passed=gain > 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"gain": gain, "score": row["validation_score"], "baseline": row["baseline_score"]},
        )

    return beats_baseline


def _model_check(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    description = "The bundle's files are those that were registered, its model is trusted and scores real rows."

    @blocking_check(declare.asset_key(spec, VERSIONS), description)
    def bundle_loads_and_answers(run_id: str, lake: LakeResource) -> Verdict:
        store = lake.open()
        with store.one_snapshot():
            pin, model = model_of_run(store, spec.name, run_id)
        try:
            loaded = bundle.load(lake.paths.artifacts.bundles.fetch(model.bundle), model.bundle_sha256)
        except ModelError as error:
            return Verdict(False, description=str(error))
        rows = training_sets.read(store, spec.name, pin, ("test",)).head(SAMPLE_ROWS)
        scores = estimators.predict_scores(
            loaded.model, estimators.feature_frame(rows, loaded.schema.features), spec.target.kind
        )
        finite = bool((scores == scores).all())
        return Verdict(finite, {"rows_scored": len(rows), "version": model.version})

    return bundle_loads_and_answers
