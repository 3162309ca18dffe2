"""Predictions: what versions of the model said of each row of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ml_assets.errors import BatchRefused
from ml_assets.lake.lake import Lake
from ml_assets.tables.table import Column, Table

PREDICTIONS = Table(
    "predictions",
    "A version's prediction for a row of a batch.",
    (
        Column("batch", "VARCHAR", "The batch."),
        Column("row_id", "BIGINT", "Number of the row in its batch."),
        Column("model_version", "VARCHAR", "The version that scored it."),
        Column(
            "role",
            "VARCHAR",
            "champion: this is the prediction that counts. challenger, shadow: scored beside it. "
            "rescored: scored later, by choice.",
        ),
        Column(
            "score", "DOUBLE", "Probability of 1 (binary), of the decision (multiclass), or the value (regression)."
        ),
        Column("decision", "VARCHAR", "The class that is predicted, or 0 or 1 by the threshold; NULL for regression."),
        Column("threshold", "DOUBLE", "Decision threshold of the version (binary)."),
        Column("probabilities", "DOUBLE[]", "Of each class, in the order of the bundle's classes (multiclass)."),
        Column("seen", "BOOLEAN", "The version was trained, tuned or evaluated on this batch."),
        Column(
            "routed",
            "BOOLEAN",
            "The prediction of the version that `serving.routes` gives this row's key to: true once a row. "
            "NULL in earlier formats, where it was the champion's.",
        ),
    ),
    written_by="asset predictions",
    key=("batch", "row_id", "model_version"),
    format=3,
)

IS_ROUTED = "coalesce(routed, coalesce(role, 'champion') = 'champion')"  # also of earlier formats


@dataclass(frozen=True)
class ScoredBy:
    """A version that scored a batch."""

    number: str
    role: str
    seen: bool | None


def scored_by(lake: Lake, pipeline: str, batch: str) -> list[ScoredBy]:
    """The versions that scored a batch, the champion first. What an earlier ml_assets wrote is the champion's.

    Raises:
        BatchRefused: There is none.
    """
    found = PREDICTIONS.query(
        lake,
        pipeline,
        """SELECT * FROM (SELECT model_version AS number, coalesce(role, 'champion') AS role, bool_or(seen) AS seen
        FROM {t} GROUP BY ALL) ORDER BY role != 'champion', number""",
        batches=[batch],
    )
    if not found:
        raise BatchRefused("predictions has no rows of the batch.", fix=f"Materialize {pipeline}/predictions for it.")
    return [ScoredBy(**row) for row in found]


def means(lake: Lake, pipeline: str, batches: Sequence[str]) -> list[dict[str, Any]]:
    """Rows and mean score by batch, model_version and role, in this order."""
    return PREDICTIONS.query(
        lake,
        pipeline,
        """SELECT batch, model_version, role, count(*) AS rows, avg(score) AS mean
        FROM {t} GROUP BY ALL ORDER BY ALL""",
        batches=batches,
    )


def of_row(lake: Lake, pipeline: str, batch: str, row_id: int) -> list[dict[str, Any]]:
    """What each version predicted of a row, the champion of that moment first."""
    return PREDICTIONS.query(
        lake,
        pipeline,
        """SELECT * REPLACE (coalesce(role, 'champion') AS role) FROM {t} WHERE row_id = ?
        ORDER BY role != 'champion', model_version""",
        [row_id],
        [batch],
    )


def counts(lake: Lake, pipeline: str, batch: str) -> list[dict[str, Any]]:
    """By model_version and role of a batch: its rows, different row ids, and rows without a score as `missing`."""
    return PREDICTIONS.query(
        lake,
        pipeline,
        """SELECT model_version, role, count(*) AS rows, count(DISTINCT row_id) AS ids,
        count(*) FILTER (score IS NULL OR isnan(score)) AS missing FROM {t} GROUP BY ALL""",
        batches=[batch],
    )


def routed(lake: Lake, pipeline: str, batch: str) -> tuple[int, int]:
    """Predictions of a batch that its rows are routed to, and the different rows among them."""
    sql = f"SELECT count(*) AS predictions, count(DISTINCT row_id) AS rows FROM {{t}} WHERE {IS_ROUTED}"
    (found,) = PREDICTIONS.query(lake, pipeline, sql, batches=[batch])
    return found["predictions"], found["rows"]


def label_sql(kind: str, sql_type: str) -> str:
    """The column `label` as predictions have it; classes are called as pandas calls them, in which models were fitted.

    Args:
        kind: Kind of the target.
        sql_type: Type of the column.
    """
    if kind == "multiclass":
        if sql_type == "BOOLEAN":
            return "CASE WHEN label THEN 'True' ELSE 'False' END"
        return "label::DOUBLE::VARCHAR" if sql_type.startswith("DECIMAL") else "label::VARCHAR"
    return "label::TINYINT" if kind == "binary" else "label::DOUBLE"
