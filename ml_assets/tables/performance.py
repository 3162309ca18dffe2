"""Live scores: what versions said of a batch, against the outcomes that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ml_assets.lake.lake import Lake, Put
from ml_assets.tables import remembered
from ml_assets.tables.table import Column, Table

EARLIER = "earlier champion"  # of a day of real-time use
PERFORMANCE = Table(
    "performance_report",
    "A live score: a metric of a version that scored the batch, on the rows whose outcome is known.",
    (
        Column("batch", "VARCHAR", "The batch."),
        Column("model_version", "VARCHAR", "The version that scored it."),
        Column("role", "VARCHAR", "champion, challenger, shadow or rescored; of real-time use also earlier champion."),
        Column("metric", "VARCHAR", "The metric."),
        Column(
            "value", "DOUBLE", "The score; NULL where it is not defined on these rows, such as roc_auc of one class."
        ),
        Column("low", "DOUBLE", "Lower end of the 95% bootstrap interval."),
        Column("high", "DOUBLE", "Upper end."),
        Column("rows", "BIGINT", "Rows with a known outcome that every version of the batch has scored."),
        Column("test_score", "DOUBLE", "The version's score on its test rows.", earlier="promised"),
        Column("drop", "DOUBLE", "How much worse than test_score; of mae, rmse and log_loss as a share."),
        Column("gain", "DOUBLE", "How much better than the champion on the same rows."),
        Column("gain_low", "DOUBLE", "Lower end of the paired 95% interval of the gain."),
        Column("gain_high", "DOUBLE", "Upper end."),
        Column("judged", "BOOLEAN", "The champion's monitoring.performance.metric: the row that carries the verdict."),
        Column("decayed", "BOOLEAN", "The verdict; NULL where there is none, and `why` says why."),
        Column("seen", "BOOLEAN", "The version was trained, tuned or evaluated on this batch."),
        Column("why", "VARCHAR", "The verdict in a sentence."),
        Column("measured_at", "TIMESTAMP", "When it was measured, UTC."),
        Column("outcomes_until", "TIMESTAMP", "When the newest late outcome that was known had been received, UTC."),
    ),
    written_by="asset performance_report",
    key=("batch", "model_version", "metric"),
    format=2,
)


def put(lake: Lake, pipeline: str, rows: Sequence[Mapping[str, Any]], batch: str) -> Put:
    """The write of a batch's scores. When they were measured is no part of their content."""
    values = lake.values(PERFORMANCE.types, rows)
    return PERFORMANCE.put(pipeline, values, batch, volatile=("measured_at", "outcomes_until"))


def verdict(lake: Lake, pipeline: str, batch: str) -> dict[str, Any] | None:
    """The row of a batch that carries its verdict; None while no outcome of it is known."""
    rows = PERFORMANCE.query(lake, pipeline, "SELECT * FROM {t} WHERE judged", batches=[batch])
    return rows[0] if rows else None


def verdicts(lake: Lake, pipeline: str, version: str | None = None, metric: str | None = None) -> list[dict[str, Any]]:
    """The rows that carry a verdict, by batch.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        version: Only those about this version.
        metric: Only those by this metric; it may have been another one in earlier batches.
    """
    return [
        row
        for row in remembered.rows(lake, PERFORMANCE, pipeline, "SELECT * FROM {t} WHERE judged")
        if version in (None, row["model_version"]) and metric in (None, row["metric"])
    ]


def scores(lake: Lake, pipeline: str, metric: str) -> list[dict[str, Any]]:
    """Every version's row of a metric, by batch."""
    return PERFORMANCE.query(lake, pipeline, "SELECT * FROM {t} WHERE metric = ? ORDER BY batch", [metric])


def recent(
    lake: Lake, pipeline: str, version: str | None = None, limit: int = 30, among: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The rows that carry a verdict, of the newest batches, or of the newest of some, by batch.

    Only those about one version, where it is given.
    """
    where = "judged AND ($version IS NULL OR model_version = $version)"
    return PERFORMANCE.newest(lake, pipeline, limit, where, "*", among, version=version)


def of_batch(lake: Lake, pipeline: str, batch: str) -> list[dict[str, Any]]:
    """Every score of a batch: the row that carries the verdict first, then by version and metric."""
    sql = "SELECT * FROM {t} ORDER BY judged DESC NULLS LAST, model_version DESC, metric"
    return PERFORMANCE.query(lake, pipeline, sql, batches=[batch])
