"""lookup_NAME and features as Dagster assets."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ml_assets.errors import FeatureError
from ml_assets.graph import declare
from ml_assets.graph.batches import Result, each_batch
from ml_assets.graph.code_version import code_version, parsed
from ml_assets.graph.features import function as python
from ml_assets.graph.features import select
from ml_assets.graph.features.function import Function
from ml_assets.graph.step_errors import user_errors
from ml_assets.lake.lake import Lake, Put
from ml_assets.resources import LakeResource
from ml_assets.sources.references import load_references
from ml_assets.spec import Lookup, PipelineSpec
from ml_assets.tables import feature_statistics

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
    return [*lookups, _features(spec, function or texts[spec.features])]


def _lookup(spec: PipelineSpec, name: str, lookup: Lookup, sql: str) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, f"lookup_{name}")
    version = code_version(__name__, lookup, spec.columns, spec.target, parsed(sql))

    @dg.asset(
        key=key,
        deps=[_earlier_batches(spec), *([declare.asset_key(spec, "outcomes")] if spec.outcomes else [])],
        description=f"Per {', '.join(lookup.key)}: an aggregate of the {lookup.batches} batches before each batch, "
        "so that no row sees its own time or later.",
        metadata={
            "sql": dg.MetadataValue.md(f"```sql\n{sql}\n```"),
            declare.LOOKS_BACK: {_earlier_batches(spec).to_user_string(): lookup.batches},
        },
        **declare.common(spec, STAGE, version, {"duckdb", "sql"}, by_batch=True),
    )
    def lookup_asset(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[Any]]:
        store = lake.open()

        def work(batch: str) -> Mapping[dg.AssetKey, Result]:
            earlier = make_lookup(store, spec, batch, lookup, sql)
            put = Put(declare.table_of(key), "lookup_rows", batch, reshape=True)
            (written,) = store.replace([put], declare.commit(context, key, batch))
            return {key: Result(written, {"history": ", ".join(earlier) or "none: the first batch"})}

        yield from each_batch(context, store, [key], work)

    return lookup_asset


def _earlier_batches(spec: PipelineSpec) -> dg.AssetKey:
    return declare.asset_key(spec, "validated_data")


def make_lookup(lake: Lake, spec: PipelineSpec, batch: str, lookup: Lookup, sql: str) -> list[str]:
    """Compute a lookup for a batch into the temporary table `lookup_rows`. Returns the batches that it saw.

    Raises:
        FeatureError: The SELECT fails, sees more than `history`, or has two rows for a key.
    """
    need_validated(lake, spec, batch)
    earlier = select.open_history(lake, spec, batch, lookup.batches)
    lake.con.execute("SET VARIABLE batch = ?", [batch])
    select.run_select(lake, sql, "lookup_rows", lookup.sql, ["history"], hidden=())
    select.check_key(lake, "lookup_rows", lookup.key, lookup.sql)
    return earlier


def need_validated(lake: Lake, spec: PipelineSpec, batch: str) -> None:
    """Raise FeatureError where a batch has no validated rows, because it is missing or was refused."""
    if not lake.count(f"{spec.name}.validated_data", batch):
        raise FeatureError(
            "validated_data has no rows of the batch: it was refused, or never ingested.",
            fix=f"Look at the checks of {spec.name}/validated_data; then materialize it for this batch.",
        )


def _features(spec: PipelineSpec, made_by: Function | str) -> dg.AssetsDefinition:
    key = declare.asset_key(spec, "features")
    parts: list[str] | str
    if isinstance(made_by, Function):
        word, language, text, kind, parts = "function", "python", made_by.text, "pandas", made_by.version
    else:
        word, language, text, kind, parts = "SELECT", "sql", made_by, "sql", parsed(made_by)
    declared = [(column.name, column.type, column.outcome) for column in spec.columns]
    version = code_version(__name__, declared, spec.references, spec.features, list(spec.lookups), parts)

    @dg.asset(
        key=key,
        deps=[
            declare.asset_key(spec, "validated_data"),
            *(declare.asset_key(spec, f"lookup_{n}") for n in spec.lookups),
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
            types = make_features(store, spec, batch, made_by, version)
            columns = store.columns("feature_rows")
            described = feature_statistics.describe(
                store.con, "feature_rows", {name: columns[name] for name in types}, batch
            )
            put = Put(declare.table_of(key), "feature_rows", batch, reshape=True)
            facts = Put(
                f"{spec.name}.{feature_statistics.TABLE}", store.values(feature_statistics.COLUMNS, described), batch
            )
            written, _ = store.replace([put, facts], declare.commit(context, key, batch))
            schema = declare.column_schema(columns)
            store.con.execute("DROP TABLE feature_rows")
            return {key: Result(written, {"features": len(types), "dagster/column_schema": schema})}

        yield from each_batch(context, store, [key], work)

    return features


def make_features(
    lake: Lake, spec: PipelineSpec, batch: str, made_by: Function | str, code_version: str
) -> dict[str, str]:
    """Compute the features of a batch into the temporary table `feature_rows`.

    Args:
        lake: The lake, references loaded.
        spec: The pipeline.
        batch: The batch.
        made_by: The features function, or the text of the SELECT.
        code_version: Of the asset.

    Returns:
        Feature name -> number | category.

    Raises:
        FeatureError: The SELECT or function fails, leaks, or drops or doubles rows.
    """
    need_validated(lake, spec, batch)
    if isinstance(made_by, Function):
        select.open_batch(lake, spec, batch)
        python.run_function(lake, spec, made_by, "feature_rows")
    else:
        select.open_batch(lake, spec, batch)
        views, hidden = ["batch", *spec.lookups, *spec.references], [*spec.outcome_columns, spec.target.name]
        select.run_select(lake, made_by, "feature_rows", spec.features, views, hidden)
    select.check_rows(lake, "feature_rows", spec.features)
    types = select.feature_types(lake.columns("feature_rows"), spec.features)
    if isinstance(made_by, Function):
        python.check_steady(lake, spec, made_by, "feature_rows", batch, code_version)
    return types
