"""Scores of one batch by one version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.errors import BatchRefused, ModelError
from ml_assets.ml import bundle, estimators, metrics
from ml_assets.store.lake import Lake
from ml_assets.store.registry import ModelVersion
from ml_assets.store.sql import identifiers, table

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "batch": "VARCHAR",
    "row_id": "BIGINT",
    "model_version": "VARCHAR",
    "score": "DOUBLE",
    "decision": "VARCHAR",
    "threshold": "DOUBLE",
}


def score_batch(lake: Lake, pipeline: str, batch: str, model: ModelVersion, loaded: bundle.Bundle) -> pd.DataFrame:
    """Predictions for every row of a batch: batch, row_id, model_version, score, decision, threshold.

    `score` is the probability of 1 (binary), of the decision (multiclass), or the value (regression).

    Raises:
        BatchRefused: The batch has no features.
        ModelError: The features are not those that the version was trained on.
    """
    name = f"{pipeline}.features"
    if not lake.count(name, batch):
        raise BatchRefused("features has no rows of the batch.", fix=f"Materialize {pipeline}/features for it.")
    missing = sorted(set(loaded.schema.features) - set(lake.columns(table(name))))
    if missing:
        raise ModelError(
            f"Version {model.version} needs features that are not made any more: {', '.join(missing)}.",
            fix=f"Run the job {pipeline}_train for a version of today's features.",
        )
    columns = identifiers(["batch", "row_id", *loaded.schema.features])
    rows = lake.con.execute(f"SELECT {columns} FROM {table(name)} WHERE batch = ? ORDER BY row_id", [batch]).df()
    scores = estimators.predict_scores(
        loaded.model, estimators.feature_frame(rows, loaded.schema.features), loaded.schema.kind
    )
    decisions = metrics.decide(scores, loaded.schema.kind, loaded.schema.threshold, loaded.schema.classes)
    return rows[["batch", "row_id"]].assign(
        model_version=model.version,
        score=scores.max(axis=1) if loaded.schema.kind == "multiclass" else scores,
        decision=decisions.astype(str),
        threshold=loaded.schema.threshold,
    )
