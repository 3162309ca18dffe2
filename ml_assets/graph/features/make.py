"""The rows of lookups and features for one batch, as temporary tables of the lake's connection."""

from __future__ import annotations

from ml_assets.errors import FeatureError
from ml_assets.graph.features import function as python
from ml_assets.graph.features import select
from ml_assets.graph.features.function import Function
from ml_assets.lake.lake import Lake
from ml_assets.spec import Lookup, PipelineSpec
from ml_assets.tables.data import VALIDATED_DATA

LOOKUP_ROWS = "lookup_rows"  # the temporary table of `make_lookup`


def make_lookup(lake: Lake, spec: PipelineSpec, batch: str | None, lookup: Lookup, sql: str) -> list[str]:
    """Compute a lookup for a batch into the temporary table `lookup_rows`. Returns the batches that it saw.

    Without a batch, it is made for the next one.

    Raises:
        FeatureError: The SELECT fails, sees more than `history`, or has two rows for a key.
    """
    if batch is not None:
        need_validated(lake, spec, batch)
    earlier = select.open_history(lake, spec, batch, lookup.batches)
    lake.con.execute("SET VARIABLE batch = ?", [batch])
    select.run_select(lake, sql, LOOKUP_ROWS, lookup.sql, ["history"], hidden=())
    select.check_key(lake, LOOKUP_ROWS, lookup.key, lookup.sql)
    return earlier


def need_validated(lake: Lake, spec: PipelineSpec, batch: str) -> None:
    """Raise FeatureError where a batch has no validated rows, because it is missing or was refused."""
    if not lake.count(VALIDATED_DATA.of(spec.name), batch):
        raise FeatureError(
            "validated_data has no rows of the batch: it was refused, or never ingested.",
            fix=f"Look at the checks of {spec.name}/validated_data; then materialize it for this batch.",
        )


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
