"""training_set, candidate_NAME and trained_model as Dagster assets."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg

from ml_assets.graph import declare
from ml_assets.graph.code_version import code_version, estimator_hashes, training_version
from ml_assets.graph.training import candidates as competition
from ml_assets.graph.training import fitting, pinning
from ml_assets.graph.training.on_ray import on_ray
from ml_assets.graph.training.search import load_optuna
from ml_assets.graph.training.trials import Trial
from ml_assets.pages import addresses
from ml_assets.reporting.markdown import markdown_table
from ml_assets.reporting.plots import as_markdown
from ml_assets.reporting.search_plots import search_figure
from ml_assets.resources import LakeResource
from ml_assets.spec import Candidate, PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import candidates, retrain_events, training_sets
from ml_assets.tables.data import FEATURES, VALIDATED_DATA
from ml_assets.tables.outcomes import OUTCOMES
from ml_assets.tables.training_sets import PARTS, TRAINING_SETS
from ml_assets.tables.versions import VERSIONS

STAGE = "training"


def training_assets(spec: PipelineSpec, texts: Mapping[str, str]) -> list[dg.AssetsDefinition]:
    """The stage's assets for one pipeline.

    Args:
        spec: The pipeline.
        texts: File name -> text of its SQL and Python files, which go into the bundle.
    """
    tuned = [_candidate(spec, name, candidate) for name, candidate in spec.candidates.items()]
    return [_training_set(spec), *tuned, _trained_model(spec, texts)]


def _training_set(spec: PipelineSpec) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, TRAINING_SETS)
    version = code_version([pinning, training_sets], spec.target, spec.split, spec.tuning.seed)
    read = [FEATURES, VALIDATED_DATA, *([OUTCOMES] if spec.outcomes else [])]

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, table) for table in read],
        description="The pinned definition of the training rows: snapshot, batches, split. Not a copy.",
        metadata={"dagster/column_schema": declare.column_schema(TRAINING_SETS.types, TRAINING_SETS.descriptions)},
        **declare.one_at_a_time(spec, STAGE, version, {"duckdb"}),
    )
    def training_set(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        store, commit, tags = lake.open(), declare.commit(context, key), context.run.tags
        with user_errors(pipeline=spec.name):
            retrain_events.started(store, spec.name, tags, commit)
            pin = pinning.make_pin(store, spec)
            training_sets.save(store, spec.name, pin, commit)
        if pin.sample:
            context.log.info(f"the training set is {pin.sample}")
        parts = [{"part": part, "rows": pin.rows[part], "batches": ", ".join(pin.batches[part])} for part in PARTS]
        return dg.MaterializeResult(
            metadata=declare.shown(
                {
                    "pin": pin.pin_id,
                    "snapshot": pin.snapshot_id,
                    "rows": sum(pin.rows.values()),
                    "dagster/row_count": sum(pin.rows.values()),
                    "features": len(pin.features),
                    **({"sample": pin.sample} if pin.sample else {}),
                    "trigger": tags.get(retrain_events.TRIGGER_TAG, "manual"),
                    "why": tags.get(retrain_events.WHY_TAG) or f"requested by {commit.triggered_by}",
                    "parts": dg.MetadataValue.md(markdown_table(parts)),
                },
                addresses.versions(spec.name),
            ),
            data_version=dg.DataVersion(pin.pin_id),
        )

    return training_set


def _candidate(spec: PipelineSpec, name: str, candidate: Candidate) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, candidates.asset_name(name))
    own = estimator_hashes([candidate.estimator])
    version = code_version([competition], candidate, spec.tuning, spec.target, spec.costs, own)
    kinds = {"scikitlearn"} if candidate.estimator.startswith("sklearn.") else {"python"}

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, TRAINING_SETS)],
        description=f"`{candidate.estimator}`, tuned for {spec.metric} by cross-validation on the train part.",
        **declare.one_at_a_time(spec, STAGE, version, kinds),
    )
    def candidate_asset(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        store = lake.open()
        load_optuna()

        def say(trial: Trial, leader: Trial | None) -> None:
            score = trial.error or f"{spec.metric} {trial.mean:.4f}{', pruned' if trial.state == 'pruned' else ''}"
            best = f" (best {leader.mean:.4f})" if leader else ""
            context.log.info(f"{name} [{trial.number + 1}/{spec.tuning.trials}] {score}{best} in {trial.seconds:.1f} s")

        with user_errors(pipeline=spec.name, candidate=name):
            pin = training_sets.newest(store, spec.name, context.run.run_id)
            compute = on_ray(store, lake.paths.root, spec, name, pin) if spec.compute == "ray" else None
            outcome = competition.compete(store, lake.paths, spec, name, pin, version, say, compute)
            competition.record(store, spec, name, pin, outcome, declare.commit(context, key))
        return dg.MaterializeResult(
            metadata=declare.shown(
                {
                    f"validation_{spec.metric}": outcome.validation_score,
                    f"cv_{spec.metric}": outcome.best.mean,
                    f"train_{spec.metric}": outcome.train_score,
                    f"baseline_{spec.metric}": outcome.baseline_score,
                    "trials": len(outcome.trials),
                    "failed_trials": sum(trial.state == "failed" for trial in outcome.trials),
                    "pruned_trials": sum(trial.state == "pruned" for trial in outcome.trials),
                    "seconds": round(outcome.seconds, 2),
                    "params": dg.MetadataValue.json(outcome.best.params),
                    "all_trials": dg.MetadataValue.md(_trials_table(outcome.trials, spec.metric)),
                    **_picture(outcome.trials, spec.metric),
                    "pin": pin.pin_id,
                },
                addresses.versions(spec.name),
            )
        )

    return candidate_asset


def _picture(trials: list[Trial], metric: str) -> declare.Metadata:
    figure = search_figure([asdict(trial) | {"score": trial.mean} for trial in trials], metric)
    return {} if figure is None else {"search": dg.MetadataValue.md(as_markdown(figure, "search"))}


def _trials_table(trials: list[Trial], metric: str) -> str:
    return markdown_table(
        [
            {
                "trial": t.number,
                "state": t.state,
                metric: t.mean,
                "seconds": t.seconds,
                "params": json.dumps(t.params),
                "error": t.error,
            }
            for t in trials
        ]
    )


def _trained_model(spec: PipelineSpec, texts: Mapping[str, str]) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, VERSIONS)
    version = training_version(spec)

    @dg.asset(
        key=key,
        deps=[
            declare.asset_key(spec, TRAINING_SETS),
            *(declare.asset_key(spec, candidates.asset_name(name)) for name in spec.candidates),
        ],
        description="The best candidate by cross-validation and validation, fitted on the rows of both and versioned.",
        **declare.one_at_a_time(spec, STAGE, version, {"scikitlearn"}),
    )
    def trained_model(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        store = lake.open()
        with user_errors(pipeline=spec.name):
            with store.one_snapshot():
                pin = training_sets.newest(store, spec.name, context.run.run_id)
                ranked = candidates.ranking(store, spec, pin.pin_id)
            model, is_new = fitting.train(store, lake.paths, spec, pin, ranked[0], texts, declare.commit(context, key))
        context.log.info(f"version {model.version} ({model.candidate}) is {'new' if is_new else 'unchanged'}")
        columns = (
            "candidate",
            "selection_score",
            "validation_score",
            "validation_se",
            "cv_score",
            "cv_se",
            "train_score",
            "trials",
            "seconds",
        )
        return dg.MaterializeResult(
            metadata=declare.shown(
                {
                    "version": model.version,
                    "candidate": model.candidate,
                    f"validation_{spec.metric}": model.validation_score,
                    "selection": ranked[0]["selection_why"],
                    "ranking": dg.MetadataValue.md(markdown_table([{c: row[c] for c in columns} for row in ranked])),
                    "bundle": dg.MetadataValue.path(lake.paths.artifacts.bundles.link(model.bundle)),
                    "pin": pin.pin_id,
                },
                addresses.version(spec.name, model.version),
            ),
            data_version=dg.DataVersion(f"{model.version}-{model.fingerprint}"),
        )

    return trained_model
