"""What could not be ingested: a row for each file or batch that failed, kept for ever.

Table: `<pipeline>.ingest_errors`. A later write of the same asset and batch is what ends a failure.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.tables.versions import now

COLUMNS = {
    "failed_at": "TIMESTAMP",
    "asset": "VARCHAR",
    "batch": "VARCHAR",
    "path": "VARCHAR",
    "sha256": "VARCHAR",
    "error": "VARCHAR",
    "run_id": "VARCHAR",
}


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
        lake.append([Rows(f"{pipeline}.ingest_errors", COLUMNS, rows)], commit)


def newest(lake: Lake, pipeline: str, table_names: Sequence[str]) -> dict[str, float]:
    """Batch -> when one of these assets last failed for it, in seconds since 1970."""
    rows = lake.rows_of(
        f"{pipeline}.ingest_errors",
        """SELECT batch, max(failed_at) AS failed_at FROM {t}
        WHERE batch IS NOT NULL AND list_contains($assets, asset) GROUP BY batch""",
        {"assets": [f"{pipeline}/{table_name}" for table_name in table_names]},
    )
    return {row["batch"]: row["failed_at"].replace(tzinfo=dt.UTC).timestamp() for row in rows}
