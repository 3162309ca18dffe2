"""predictions as a Dagster asset."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from ml_assets.graph import declare
from ml_assets.graph.batches import Result, each_batch
from ml_assets.graph.code_version import code_version
from ml_assets.graph.scoring import scoring
from ml_assets.graph.scoring.scoring import SCORED
from ml_assets.lake.lake import Lake
from ml_assets.ml import estimators
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import versions
from ml_assets.tables.data import FEATURES
from ml_assets.tables.decisions import DECISIONS
from ml_assets.tables.predictions import PREDICTIONS

STAGE = "scoring"


class Scoring(dg.Config):
    """Which version scores."""

    version: str | None = Field(
        None,
        description="Score with this version, such as 1.0.0, and keep the rows of all others. "
        "Default: the champion and what `serving` names; their rows replace those of the batch.",
    )


def scoring_assets(spec: PipelineSpec) -> list[dg.AssetsDefinition]:
    """The stage's assets for one pipeline."""
    return [_predictions(spec)]


def _predictions(spec: PipelineSpec) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, PREDICTIONS)

    @dg.asset(
        key=key,
        deps=[declare.asset_key(spec, FEATURES), declare.asset_key(spec, DECISIONS)],
        description="Each row of the batch, scored by the champion of that moment and the versions beside it; "
        "version and threshold stand on every row.",
        metadata={"dagster/column_schema": declare.column_schema(PREDICTIONS.types, PREDICTIONS.descriptions)},
        output_required=False,  # without a champion there is nothing to score with, and what follows is skipped
        **declare.common(
            spec,
            STAGE,
            code_version(
                [scoring, estimators], spec.target, spec.serving.model_dump(include={"routes", "shadow"}), spec.key
            ),
            {"scikitlearn", "duckdb"},
            by_batch=True,
        ),
    )
    def predictions(
        context: dg.AssetExecutionContext, config: Scoring, lake: LakeResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        store = lake.open()
        with user_errors(pipeline=spec.name):
            if config.version:
                chosen = versions.need_version(store, spec.name, config.version)
                by = [scoring.load(store, lake.paths, spec.name, chosen, "rescored")]
            elif versions.alias(store, spec.name, "champion") is None:
                _say_there_is_no_champion(context, spec)
                return
            else:
                by = scoring.scorers(store, lake.paths, spec)

        def work(batch: str) -> Mapping[dg.AssetKey, Result]:
            scoring.score_batch(store, spec, batch, by)
            metadata = _numbers(store, by)
            if config.version:
                scoring.keep_others(store, spec.name, batch, by[0])
            # Nothing downstream depends on the routes: other routes are no other data.
            put = PREDICTIONS.put(spec.name, SCORED, batch, volatile=("routed",))
            (written,) = store.replace([put], declare.commit(context, key, batch))
            store.con.execute(f"DROP TABLE {SCORED}")
            return {key: Result(written, metadata)}

        yield from each_batch(context, store, [key], work)

    return predictions


def _say_there_is_no_champion(context: dg.AssetExecutionContext, spec: PipelineSpec) -> None:
    """No failure: the first version may have been refused, and a later champion scores what was never scored."""
    text = (
        f"There is no champion yet, so nothing was scored. lake.{DECISIONS.of(spec.name)} says why no version was "
        "promoted; the first champion scores the batches that it was not trained on."
    )
    context.log.warning(text)
    context.log_event(dg.AssetObservation(declare.asset_key(spec, PREDICTIONS), description=text))


def _numbers(lake: Lake, by: list[scoring.BatchScorer]) -> declare.Metadata:
    """The first version, and what each has said on average, to plot."""
    said = lake.rows(
        f"SELECT model_version, role, avg(score) AS mean, bool_or(seen) AS seen FROM {SCORED} GROUP BY ALL"
    )
    means = {row["model_version"]: row for row in said}
    first = means[by[0].model.version]
    return {
        "model_version": first["model_version"],
        "seen": bool(first["seen"]),
        "mean_score": first["mean"],
        **{f"mean_score_{row['role']}": row["mean"] for row in said if row is not first},
        "versions": ", ".join(f"{scorer.model.version} ({scorer.role})" for scorer in by),
    }
