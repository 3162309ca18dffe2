"""How far each column of a batch has moved, and the verdict; one batch a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ml_assets.lake.lake import Lake, Put
from ml_assets.ml.drift_measures import DISTANCES, PRESENCE
from ml_assets.tables.table import Column, Table

DRIFT = Table(
    "drift_report",
    "How far a batch has moved from what the champion was fitted on.",
    (
        Column("batch", "VARCHAR", "The batch."),
        Column("model_version", "VARCHAR", "The version that it was compared by: the champion of that moment."),
        Column(
            "drifted",
            "BOOLEAN",
            "At least share_limit of the model's importance is in drifted columns. NULL: too few rows to say.",
        ),
        Column("share", "DOUBLE", "Share of the columns that have drifted."),
        Column("weighted_share", "DOUBLE", "Share of the model's importance that is in drifted columns."),
        Column("share_limit", "DOUBLE", "monitoring.drift_share of that moment."),
        Column("why", "VARCHAR", "The verdict in a sentence."),
        Column(
            "columns",
            """STRUCT("column" VARCHAR, "method" VARCHAR, score DOUBLE, threshold DOUBLE, drifted BOOLEAN,
        direction VARCHAR, importance DOUBLE, "rows" BIGINT, reference_rows BIGINT, ignored BOOLEAN)[]""",
            "Each feature and the prediction: distance, limit, where to, importance, rows with a value.",
        ),
        Column("rows", "BIGINT", "Rows of the batch; at most monitoring.sample of them were compared."),
        Column("reference_rows", "BIGINT", "Rows of the reference's sample."),
        Column("html", "VARCHAR", "The HTML report, relative to the reports folder.", earlier="page"),
        Column("json", "VARCHAR", "The same as JSON."),
    ),
    written_by="asset drift_report",
    key=("batch",),
    format=2,
)
NAMED = 3  # columns in the sentence
SUMMARY = "* EXCLUDE (columns), len(list_filter(columns, lambda c: c.drifted)) AS drifted_columns"


@dataclass(frozen=True)
class MeasuredColumn:
    """How far one column has moved.

    Args:
        column: Feature, or `prediction`.
        method: Evidently's name of the measure.
        score: Distance, or p-value.
        threshold: Where drift begins: from it on for a distance, below it for a p-value. It is greater than what the
            YAML or Evidently says where so few rows show more by chance.
        drifted: Has it?
        direction: Where to, in words.
        importance: Its share of the model's importance; 0 where it is ignored.
        rows: Rows of the batch's sample with a value.
        reference_rows: Rows of the reference's sample with a value.
        ignored: It has no say in the verdict.
    """

    column: str
    method: str
    score: float
    threshold: float
    drifted: bool
    direction: str
    importance: float
    rows: int
    reference_rows: int
    ignored: bool = False

    @property
    def far(self) -> float:
        """How far, in a number that can be compared between measures: from 1 on it has drifted."""
        if self.method in DISTANCES or self.method == PRESENCE:
            return self.score / self.threshold
        return min(self.threshold / max(self.score, 1e-9), 100.0)


@dataclass(frozen=True)
class BatchDrift:
    """The verdict on a batch.

    Args:
        columns: Each feature and the prediction, the important drifted ones first; empty where nothing was measured.
        limit: monitoring.drift_share.
        rows: Rows of the batch.
        reference_rows: Rows of the reference's sample.
        unjudged: Why there is no verdict; empty where there is one.
        lost: Columns of which most values are gone: one is drift, whatever its importance.
    """

    columns: Sequence[MeasuredColumn]
    limit: float
    rows: int
    reference_rows: int
    unjudged: str = ""
    lost: Sequence[str] = ()

    @property
    def drifted_columns(self) -> list[MeasuredColumn]:
        """Those that count."""
        return [column for column in self.columns if column.drifted and not column.ignored]

    @property
    def share(self) -> float | None:
        """Share of the columns that have drifted."""
        return None if self.unjudged else len(self.drifted_columns) / sum(not c.ignored for c in self.columns)

    @property
    def weighted_share(self) -> float | None:
        """Share of the model's importance that is in drifted columns."""
        return None if self.unjudged else sum(column.importance for column in self.drifted_columns)

    @property
    def drifted(self) -> bool | None:
        share = self.weighted_share
        return None if share is None else bool(self.lost) or share >= self.limit - 1e-9  # sums of floats

    @property
    def why(self) -> str:
        """The verdict in a sentence."""
        if self.unjudged:
            return f"No verdict: {self.unjudged}"
        found = self.drifted_columns
        if not found:
            return f"No drift: none of {sum(not c.ignored for c in self.columns)} columns has moved"
        its = "its" if len(self.lost) == 1 else "their"
        lost = f"{', '.join(self.lost)} lost {its} values; " if self.lost else ""
        many = f"the {len(found)} columns that moved carry" if len(found) > 1 else "the column that moved carries"
        more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        return (
            f"{'Drift' if self.drifted else 'No drift'}: {lost}{many} {self.weighted_share:.0%} of the model's "
            f"importance (limit {self.limit:.0%}): {'; '.join(_sentence(column) for column in found[:NAMED])}{more}"
        )

    def as_row(self, batch: str, version: str, html: str | None, json: str | None) -> dict[str, Any]:
        """A row of `DRIFT`."""
        return {
            "batch": batch,
            "model_version": version,
            "drifted": self.drifted,
            "share": self.share,
            "weighted_share": self.weighted_share,
            "share_limit": self.limit,
            "why": self.why,
            "columns": [asdict(column) for column in self.columns],
            "rows": self.rows,
            "reference_rows": self.reference_rows,
            "html": html,
            "json": json,
        }


def _sentence(column: MeasuredColumn) -> str:
    what = "moved by" if column.method in DISTANCES or column.method == PRESENCE else "has p ="
    return (
        f"{column.column} ({column.importance:.0%}) {what} {column.score:.2g} (limit {column.threshold:.2g}), "
        f"{column.direction}, {column.rows:,} rows against {column.reference_rows:,}"
    )


def put(lake: Lake, pipeline: str, row: Mapping[str, Any], batch: str) -> Put:
    """The write of a batch's report."""
    return DRIFT.put(pipeline, lake.values(DRIFT.types, [row]), batch, reshape=True)


def verdicts(lake: Lake, pipeline: str, batch: str | None = None) -> list[dict[str, Any]]:
    """The report of each batch, or of one, by batch: all but its columns, of which `drifted_columns` is the number."""
    return DRIFT.query(
        lake,
        pipeline,
        f"SELECT {SUMMARY} FROM {{t}} WHERE $batch IS NULL OR batch = $batch ORDER BY batch",
        {"batch": batch},
    )


def recent(
    lake: Lake, pipeline: str, version: str | None = None, limit: int = 30, among: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The reports of the newest batches, or of the newest of some, as in `verdicts`.

    Only those of one version, where it is given.
    """
    where = "($version IS NULL OR model_version = $version)"
    return DRIFT.newest(lake, pipeline, limit, where, SUMMARY, among, version=version)


def columns_of(lake: Lake, pipeline: str, batch: str) -> list[dict[str, Any]]:
    """Each column of a batch's report as a dictionary, those that count and have moved first."""
    rows = DRIFT.query(lake, pipeline, "SELECT columns FROM {t} WHERE batch = ?", [batch])
    return list(rows[0]["columns"] or ()) if rows else []
