"""The audit trail of a pipeline: its newest writes and failures, asset by asset and batch by batch."""

from __future__ import annotations

from ml_assets.lake import audit
from ml_assets.lake.audit import LastWrite, Place, Trail
from ml_assets.lake.lake import Lake
from ml_assets.tables.ingest_errors import INGEST_ERRORS


def read_trail(lake: Lake, pipeline: str) -> Trail:
    """Every write of a pipeline, folded into what is known of each asset and batch."""
    return audit.read_trail(lake, pipeline, INGEST_ERRORS.of(pipeline))


def last_writes(lake: Lake, pipeline: str) -> dict[Place, LastWrite]:
    """(asset key, batch) -> its newest write, for every asset of a pipeline."""
    return read_trail(lake, pipeline).writes
