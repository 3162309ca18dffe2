"""What could not be ingested: a row for each file or batch that failed, kept for ever."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables.table import Column, Table
from ml_assets.tables.versions import now

INGEST_ERRORS = Table(
    "ingest_errors",
    "A file or batch that failed. A later write of the same asset and batch is what ends a failure.",
    (
        Column("failed_at", "TIMESTAMP", "When, UTC."),
        Column("asset", "VARCHAR", "Asset key, such as flights/raw_data."),
        Column("batch", "VARCHAR", "The batch; NULL where the file's name contains none."),
        Column("path", "VARCHAR", "The file, where it is one file's fault."),
        Column("sha256", "VARCHAR", "SHA-256 of its bytes."),
        Column("error", "VARCHAR", "Rule, what was found, where, next step."),
        Column("run_id", "VARCHAR", "Dagster run."),
    ),
    written_by="every asset of batches",
)


@dataclass(frozen=True)
class FailedIngest:
    """One failure.

    Args:
        error: Rule, what was found, where, next step.
        batch: The batch; None where the file's name says none.
        path: The file, where it is one file's fault.
        sha256: Of the file's bytes.
    """

    error: str
    batch: str | None = None
    path: str | None = None
    sha256: str | None = None


def record(lake: Lake, pipeline: str, failed: Sequence[FailedIngest], commit: Commit) -> None:
    """Append failures of one asset."""
    rows = [{"failed_at": now(), "asset": commit.asset, "run_id": commit.run_id, **asdict(one)} for one in failed]
    if rows:
        lake.append([INGEST_ERRORS.rows(pipeline, rows)], commit)


def newest(lake: Lake, pipeline: str, *tables: Table) -> dict[str, float]:
    """Batch -> when the asset of one of these tables last failed for it, in seconds since 1970."""
    rows = INGEST_ERRORS.query(
        lake,
        pipeline,
        """SELECT batch, max(failed_at) AS failed_at FROM {t}
        WHERE batch IS NOT NULL AND list_contains($assets, asset) GROUP BY batch""",
        {"assets": [table.asset(pipeline) for table in tables]},
    )
    return {row["batch"]: row["failed_at"].replace(tzinfo=dt.UTC).timestamp() for row in rows}


def texts(lake: Lake, pipeline: str) -> dict[tuple[str, str | None], str]:
    """(asset, batch) -> text of its newest failure."""
    rows = INGEST_ERRORS.query(
        lake,
        pipeline,
        "SELECT asset, batch, max_by(error, failed_at) AS error FROM {t} WHERE batch IS NOT NULL GROUP BY ALL",
    )
    return {(row["asset"], row["batch"]): row["error"] for row in rows}


def last_failures(lake: Lake, pipeline: str) -> list[dict[str, Any]]:
    """The newest failure of each asset and batch, in the order in which a batch passes through the assets."""
    return INGEST_ERRORS.query(
        lake,
        pipeline,
        """SELECT * FROM {t} WHERE batch IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY asset, batch ORDER BY failed_at DESC) = 1 ORDER BY failed_at""",
    )


def by_run(lake: Lake, pipeline: str) -> list[dict[str, Any]]:
    """Refused files and batches with all that was said of them in one run: what follows a refusal is refused, too."""
    return INGEST_ERRORS.query(
        lake,
        pipeline,
        """SELECT coalesce(batch, path, '') AS subject, run_id, any_value(batch) AS batch, min(failed_at) AS failed_at,
            first(asset ORDER BY failed_at) AS asset, first(error ORDER BY failed_at) AS error,
            list(error ORDER BY failed_at) AS errors
        FROM {t} GROUP BY 1, 2 ORDER BY failed_at""",
    )
