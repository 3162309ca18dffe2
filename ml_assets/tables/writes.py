"""Writes whose snapshots have expired, as far as staleness must still know of them (`lake/audit.py` reads both)."""

from __future__ import annotations

from ml_assets.tables.table import Column, Table

WRITES = Table(
    "writes",
    "An expired write that staleness must know: the newest of an asset and batch, and each that changed its content.",
    (
        Column("asset", "VARCHAR", "Asset key, such as flights/features."),
        Column("batch", "VARCHAR", "The batch that was written; NULL where the asset has none."),
        Column("snapshot_id", "BIGINT", "The snapshot that it made."),
        Column("written_at", "TIMESTAMP", "When, UTC."),
        Column("code_version", "VARCHAR", "Code version of the asset."),
        Column("data_versions", "JSON", "Table -> hash of what was written."),
        Column("rows", "JSON", "Table -> rows that were written."),
        Column("run_id", "VARCHAR", "Dagster run."),
    ),
    written_by="job PIPELINE_maintenance",
)
