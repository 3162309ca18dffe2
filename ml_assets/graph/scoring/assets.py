"""predictions as a Dagster asset."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ml_assets.graph import steps
from ml_assets.graph.code_version import code_version
from ml_assets.graph.scoring import scoring
from ml_assets.graph.steps import Result
from ml_assets.ml import bundle
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.store import registry
from ml_assets.store.lake import Put
from ml_assets.store.sql import identifier

STAGE = "scoring"


def scoring_assets(spec: PipelineSpec) -> list[dg.AssetsDefinition]:
    """The stage's assets for one pipeline."""
    return [_predictions(spec)]


def _predictions(spec: PipelineSpec) -> dg.AssetsDefinition:
    key = steps.asset_key(spec, "predictions")

    @dg.asset(
        key=key,
        deps=[steps.asset_key(spec, "features"), steps.asset_key(spec, "champion")],
        description="Each row of the batch, scored by the champion of that moment; its version stands on every row.",
        metadata={"dagster/column_schema": steps.column_schema(scoring.COLUMNS)},
        **steps.common(spec, STAGE, code_version(__name__, spec.target), {"scikitlearn", "duckdb"}, by_batch=True),
    )
    def predictions(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[Any]]:
        store = lake.open()
        with steps.user_errors(pipeline=spec.name):
            model = registry.need_alias(store, spec.name, "champion")
            loaded = bundle.load(lake.paths.bundles / model.bundle, model.bundle_sha256)
        casts = ", ".join(f"{identifier(name)}::{kind} AS {identifier(name)}" for name, kind in scoring.COLUMNS.items())

        def work(batch: str) -> Mapping[dg.AssetKey, Result]:
            frame = scoring.score_batch(store, spec.name, batch, model, loaded)
            store.con.register("scored_frame", frame)
            store.con.execute(f"CREATE OR REPLACE TEMP TABLE scored AS SELECT {casts} FROM scored_frame")
            store.con.unregister("scored_frame")
            (written,) = store.replace([Put(steps.table_of(key), "scored", batch)], steps.commit(context, key, batch))
            return {key: Result(written, {"model_version": model.version, "mean_score": float(frame["score"].mean())})}

        yield from steps.each_batch(context, store, [key], work)

    return predictions
