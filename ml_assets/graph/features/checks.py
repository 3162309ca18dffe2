"""Checks of the features stage."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from ml_assets.graph import steps
from ml_assets.graph.steps import Verdict
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.store.lake import Lake
from ml_assets.store.sql import identifier, identifiers, table


def feature_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    return [*(_lookup_checks(spec, name, lookup.key) for name, lookup in spec.lookups.items()), _features_checks(spec)]


def _lookup_checks(spec: PipelineSpec, name: str, columns: list[str]) -> dg.AssetChecksDefinition:
    key = steps.asset_key(spec, f"lookup_{name}")

    @dg.multi_asset_check(
        name=f"{spec.name}__lookup_{name}_checks",
        specs=[
            dg.AssetCheckSpec(
                "key_is_unique",
                asset=key,
                blocking=True,
                partitions_def=steps.batches_of(spec),
                description=f"One row per {', '.join(columns)} and batch.",
            )
        ],
    )
    def lookup_checks(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[Any]:
        store = lake.open()
        yield from steps.verdicts_by_batch(
            context, key, {"key_is_unique": lambda batch: _key_is_unique(store, steps.table_of(key), columns, batch)}
        )

    return lookup_checks


def _key_is_unique(lake: Lake, name: str, columns: list[str], batch: str) -> Verdict:
    repeated = lake.con.execute(
        f"""SELECT count(*) FROM (SELECT 1 FROM {table(name)} WHERE batch = ?
        GROUP BY {identifiers(columns)} HAVING count(*) > 1)""",
        [batch],
    ).fetchall()[0][0]
    return Verdict(repeated == 0, {"repeated_keys": repeated})


def _features_checks(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    key = steps.asset_key(spec, "features")
    batches = steps.batches_of(spec)

    @dg.multi_asset_check(
        name=f"{spec.name}__features_checks",
        specs=[
            dg.AssetCheckSpec(
                "one_row_per_validated_row",
                asset=key,
                blocking=True,
                partitions_def=batches,
                description="features and validated_data hold the same row ids.",
            ),
            dg.AssetCheckSpec(
                "no_empty_feature",
                asset=key,
                partitions_def=batches,
                description="No feature is NULL in every row. The first batch has no history, so its lookups may be.",
            ),
        ],
    )
    def features_checks(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[Any]:
        store = lake.open()
        judges = {
            "one_row_per_validated_row": lambda batch: _same_rows(store, spec.name, batch),
            "no_empty_feature": lambda batch: _no_empty_feature(store, steps.table_of(key), batch),
        }
        yield from steps.verdicts_by_batch(context, key, judges, warnings=["no_empty_feature"])

    return features_checks


def _same_rows(lake: Lake, pipeline: str, batch: str) -> Verdict:
    made, validated = f"{pipeline}.features", f"{pipeline}.validated_data"
    if not lake.count(made, batch):
        return Verdict(False, {"features": 0}, f"{made} has no rows of batch {batch}")
    differ = lake.con.execute(
        f"""SELECT count(*) FROM (SELECT row_id FROM {table(made)} WHERE batch = $batch) f
        FULL JOIN (SELECT row_id FROM {table(validated)} WHERE batch = $batch) v USING (row_id)
        WHERE f.row_id IS NULL OR v.row_id IS NULL""",
        {"batch": batch},
    ).fetchall()[0][0]
    return Verdict(differ == 0, {"rows_that_differ": differ})


def _no_empty_feature(lake: Lake, name: str, batch: str) -> Verdict:
    columns = [column for column in lake.columns(table(name)) if column not in ("batch", "row_id")]
    counts = lake.con.execute(
        f"SELECT {', '.join(f'count({identifier(c)})' for c in columns)} FROM {table(name)} WHERE batch = ?", [batch]
    ).fetchall()[0]
    empty = [column for column, filled in zip(columns, counts, strict=True) if not filled]
    return Verdict(not empty, {"empty_features": ", ".join(empty) or "none"})
