"""Checks of the features stage."""

import dagster as dg

from ml_assets.graph.checks import BatchCheck, Verdict, batch_checks
from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier, identifiers, table
from ml_assets.reporting.markdown import markdown_table
from ml_assets.spec import PipelineSpec
from ml_assets.tables import feature_statistics
from ml_assets.tables.data import FEATURES, VALIDATED_DATA


def feature_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    return [*(_lookup_checks(spec, name, lookup.key) for name, lookup in spec.lookups.items()), _features_checks(spec)]


def _lookup_checks(spec: PipelineSpec, name: str, columns: list[str]) -> dg.AssetChecksDefinition:
    asset_name = f"lookup_{name}"
    unique = BatchCheck(
        "key_is_unique",
        f"One row per {', '.join(columns)} and batch.",
        lambda lake, batch: _key_is_unique(lake, f"{spec.name}.{asset_name}", columns, batch),
    )
    return batch_checks(spec, asset_name, [unique])


def _key_is_unique(lake: Lake, name: str, columns: list[str], batch: str) -> Verdict:
    repeated = lake.con.execute(
        f"""SELECT count(*) FROM (SELECT 1 FROM {lake.relation(name, [batch])}
        GROUP BY {identifiers(columns)} HAVING count(*) > 1)"""
    ).fetchall()[0][0]
    return Verdict(repeated == 0, {"repeated_keys": repeated})


def _features_checks(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    checks = [
        BatchCheck(
            "one_row_per_validated_row",
            "features and validated_data hold the same row ids.",
            lambda lake, batch: _same_rows(lake, spec.name, batch),
        ),
        BatchCheck(
            "no_empty_feature",
            "No feature is NULL in every row. The first batch has no history, so its lookups may be.",
            lambda lake, batch: _no_empty_feature(lake, FEATURES.of(spec.name), batch),
            blocking=False,
        ),
        BatchCheck(
            "no_broken_feature",
            "No feature is constant, or without values far more or less often than usual: in the batches that the "
            "champion was fitted on, or before. No training starts by itself on one that is.",
            lambda lake, batch: _no_broken_feature(lake, spec, batch),
            blocking=False,
        ),
    ]
    return batch_checks(spec, FEATURES.name, checks)


def _same_rows(lake: Lake, pipeline: str, batch: str) -> Verdict:
    made, validated = FEATURES.of(pipeline), VALIDATED_DATA.of(pipeline)
    ids = lake.row_ids(made, batch)
    if not ids[0]:
        return Verdict(False, {"features": 0}, f"{made} has no rows of batch {batch}")
    if ids == lake.row_ids(validated, batch):
        return Verdict(True, {"rows_that_differ": 0})
    differ = lake.con.execute(
        f"""SELECT count(*) FROM (SELECT row_id FROM {table(made)} WHERE batch = $batch) f
        FULL JOIN (SELECT row_id FROM {table(validated)} WHERE batch = $batch) v USING (row_id)
        WHERE f.row_id IS NULL OR v.row_id IS NULL""",
        {"batch": batch},
    ).fetchall()[0][0]
    return Verdict(differ == 0, {"rows_that_differ": differ})


def _no_broken_feature(lake: Lake, spec: PipelineSpec, batch: str) -> Verdict:
    found = feature_statistics.broken(lake, spec.name, [batch], feature_statistics.rules_of(spec))
    shown = [{"feature": one.feature, "missing": one.missing, "usual": one.usual, "since": one.since} for one in found]
    table_ = {"broken": dg.MetadataValue.md(markdown_table(shown))} if found else {}
    return Verdict(not found, {"broken_features": len(found), **table_}, "; ".join(map(str, found)) or None)


def _no_empty_feature(lake: Lake, name: str, batch: str) -> Verdict:
    columns = [column for column in lake.columns(table(name)) if column not in ("batch", "row_id")]
    counts = lake.con.execute(
        f"SELECT {', '.join(f'count({identifier(c)})' for c in columns)} FROM {lake.relation(name, [batch])}"
    ).fetchall()[0]
    empty = [column for column, filled in zip(columns, counts, strict=True) if not filled]
    return Verdict(not empty, {"empty_features": ", ".join(empty) or "none"})
