"""lookup_NAME and features as Dagster assets."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ml_assets.graph import declare
from ml_assets.graph.batches import Result, each_batch
from ml_assets.graph.code_version import code_version, parsed
from ml_assets.graph.features import earlier, make
from ml_assets.graph.features.function import Function
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.resources import LakeResource
from ml_assets.sources.references import load_references
from ml_assets.spec import Lookup, PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import data, feature_statistics, online_batches, versions
from ml_assets.tables.data import FEATURES, VALIDATED_DATA
from ml_assets.tables.outcomes import OUTCOMES

STAGE = "features"


def feature_assets(
    spec: PipelineSpec, texts: Mapping[str, str], function: Function | None
) -> list[dg.AssetsDefinition]:
    """The stage's assets for one pipeline.

    Args:
        spec: The pipeline.
        texts: File name -> text of its SQL files.
        function: The features function, where features is not one of the SQL files.
    """
    lookups = [_lookup(spec, name, lookup, texts[lookup.sql]) for name, lookup in spec.lookups.items()]
    made_by = function or texts[spec.features]
    return [*lookups, _features(spec, made_by, earlier.sources(spec, texts, function))]


def _lookup(spec: PipelineSpec, name: str, lookup: Lookup, sql: str) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, data.lookup(name))
    declared = [(column.name, column.type) for column in spec.columns]
    version = code_version([make], lookup, declared, spec.target, parsed(sql))

    @dg.asset(
        key=key,
        deps=[_earlier_batches(spec), *([declare.asset_key(spec, OUTCOMES)] if spec.outcomes else [])],
        description=f"Per {', '.join(lookup.key)}: an aggregate of the {lookup.batches} batches before each batch, "
        "so that no row sees its own time or later.",
        metadata={
            "sql": dg.MetadataValue.md(f"```sql\n{sql}\n```"),
            declare.LOOKS_BACK: {_earlier_batches(spec).to_user_string(): lookup.batches},
        },
        **declare.common(spec, STAGE, version, {"duckdb", "sql"}, by_batch=True),
        pool=declare.ingest_pool(spec),
    )
    def lookup_asset(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[Any]]:
        store = lake.open()

        def work(batch: str) -> Mapping[dg.AssetKey, Result]:
            with store.one_snapshot():
                earlier = make.make_lookup(store, spec, batch, lookup, sql)
                read_at = store.snapshot()
            put = data.lookup(name).put(spec.name, make.LOOKUP_ROWS, batch, reshape=True)
            (written,) = store.replace([put], declare.commit(context, key, batch, read_at=read_at))
            return {key: Result(written, {"history": ", ".join(earlier) or "none: the first batch"})}

        yield from each_batch(context, store, [key], work)

    return lookup_asset


def _earlier_batches(spec: PipelineSpec) -> dg.AssetKey:
    return declare.asset_key(spec, VALIDATED_DATA)


def _features(spec: PipelineSpec, made_by: Function | str, texts: Mapping[str, str]) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, FEATURES)
    parts: list[str] | str
    if isinstance(made_by, Function):
        word, language, text, kind, parts = "function", "python", made_by.text, "pandas", made_by.version
    else:
        word, language, text, kind, parts = "SELECT", "sql", made_by, "sql", parsed(made_by)
    declared = [(column.name, column.type, column.outcome) for column in spec.columns]
    version = code_version([make], declared, spec.references, spec.features, list(spec.lookups), parts)

    @dg.asset(
        key=key,
        deps=[
            declare.asset_key(spec, VALIDATED_DATA),
            *(declare.asset_key(spec, data.lookup(n)) for n in spec.lookups),
        ],
        description=f"The pipeline's {word}: exactly one row per validated row, blind to outcomes and target.",
        metadata={language: dg.MetadataValue.md(f"```{language}\n{text}\n```")},
        **declare.common(spec, STAGE, version, {"duckdb", kind}, by_batch=True),
    )
    def features(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[Any]]:
        store = lake.open()
        with user_errors(pipeline=spec.name):
            load_references(store, spec, lake.paths, spec.references)

        def work(batch: str) -> Mapping[dg.AssetKey, Result]:
            with store.one_snapshot():
                types = make.make_features(store, spec, batch, made_by, version)
                read_at = store.snapshot()
            served = _take_served(store, lake.paths, spec, batch, texts) if data.is_online_batch(batch) else {}
            columns = store.columns("feature_rows")
            described = feature_statistics.describe(
                store.con, "feature_rows", {name: columns[name] for name in types}, batch
            )
            put = FEATURES.put(spec.name, "feature_rows", batch, reshape=True)
            facts = feature_statistics.put(store, spec.name, described, batch)
            written, _ = store.replace([put, facts], declare.commit(context, key, batch, read_at=read_at))
            schema = declare.column_schema(columns)
            store.con.execute("DROP TABLE feature_rows")
            return {key: Result(written, {"features": len(types), "dagster/column_schema": schema, **served})}

        yield from each_batch(context, store, [key], work)

    return features


def _take_served(
    store: Lake, paths: Paths, spec: PipelineSpec, batch: str, texts: Mapping[str, str]
) -> declare.Metadata:
    """The features that servers computed for logged requests, where they were computed as today's are."""
    bundles = paths.artifacts.bundles
    models = {model.version: model for model in versions.versions(store, spec.name)}
    named = [models[name] for name in online_batches.versions_of(store, spec.name, batch) if name in models]
    alike = [model.version for model in named if earlier.has_features(bundles.fetch(model.bundle), texts)]
    return {"rows_as_served": online_batches.take_served(store, spec.name, batch, "feature_rows", alike)}
