"""Golden rows of a release: requests with the predictions that its server must repeat."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ml_assets import metrics
from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier, identifiers
from ml_assets.ml import bundle, release
from ml_assets.spec import PipelineSpec
from ml_assets.tables.data import FEATURES, VALIDATED_DATA
from ml_assets.tables.training_sets import Pin

GOLDEN_ROWS, GOLDEN_WITH_NULLS = 200, 50


def golden_rows(
    lake: Lake, spec: PipelineSpec, pin: Pin, batch: str, loaded: bundle.Bundle, most: int = GOLDEN_ROWS
) -> release.Golden:
    """Rows of a batch as requests, some of them with missing values, and their scores by the batch path.

    That is: features as they lie in the lake, then the model.
    """
    columns = [column.name for column in spec.columns if not column.outcome]
    any_null = " OR ".join(f"{identifier(name)} IS NULL" for name in columns)
    rows = lake.rows(
        f"""SELECT row_id, {identifiers(columns)} FROM {VALIDATED_DATA.sql(spec.name, pin.snapshot_id)} WHERE batch = ?
        WINDOW alike AS (PARTITION BY {any_null} ORDER BY hash(row_id), row_id)
        ORDER BY ({any_null}) AND row_number() OVER alike <= ? DESC, row_number() OVER alike, row_id LIMIT ?""",
        [batch, GOLDEN_WITH_NULLS, most],
    )
    rows = sorted((row for row in rows if _fits_json(row.values())), key=lambda row: row["row_id"])
    ids = [row.pop("row_id") for row in rows]
    features = lake.con.execute(
        f"""SELECT {identifiers(list(loaded.schema.features))} FROM {FEATURES.sql(spec.name, pin.snapshot_id)}
        WHERE batch = ? AND row_id IN (SELECT unnest(?)) ORDER BY row_id""",
        [batch, ids],
    ).df()
    schema = loaded.schema
    scores = loaded.scores(features)
    decisions = metrics.decide(scores, schema.kind, schema.threshold, schema.classes).astype(str)
    one_each = scores.max(axis=1) if schema.kind == "multiclass" else scores
    return release.Golden(rows=rows, scores=one_each.tolist(), decisions=decisions.tolist())


def _fits_json(values: Iterable[Any]) -> bool:
    """JSON has no NaN and no infinity."""
    return all(not isinstance(value, float) or math.isfinite(value) for value in values)
