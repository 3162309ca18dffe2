"""The audit trail: what each snapshot of the lake was written by, read back from its commit message.

Upkeep copies what it would lose to `<pipeline>.writes` before it expires a snapshot, so both are read.
"""

from __future__ import annotations

from dataclasses import dataclass

from ml_assets.store.lake import Lake
from ml_assets.store.sql import table

# The columns of `<pipeline>.writes`, and of `all_writes`.
WRITES = {
    "asset": "VARCHAR",
    "batch": "VARCHAR",
    "snapshot_id": "BIGINT",
    "written_at": "TIMESTAMP",
    "code_version": "VARCHAR",
    "data_versions": "JSON",
    "rows": "JSON",
    "run_id": "VARCHAR",
}


@dataclass(frozen=True)
class LastWrite:
    """The newest write of an asset, or of one batch of it."""

    asset: str
    batch: str | None
    snapshot_id: int
    code_version: str
    run_id: str


def last_writes(lake: Lake, pipeline: str) -> dict[tuple[str, str | None], LastWrite]:
    """(asset key, batch) -> its newest write, for every asset of a pipeline.

    Several tables of one write, such as validated_data and quarantine, share the snapshot of the first of them.
    """
    rows = lake.rows(
        f"""
        SELECT asset, batch, max(snapshot_id) AS snapshot_id,
            max_by(code_version, snapshot_id) AS code_version, max_by(run_id, snapshot_id) AS run_id
        FROM {all_writes(lake, pipeline)} GROUP BY ALL
        """,
        {"prefix": f"{pipeline}/"},
    )
    return {(row["asset"], row["batch"]): LastWrite(**row) for row in rows}


def all_writes(lake: Lake, pipeline: str) -> str:
    """SQL of every known write of a pipeline, with the columns of `WRITES`; its parameter $prefix is `<pipeline>/`.

    A write can be there twice, equal both times, where upkeep was killed between keeping and expiring it.
    """
    fields = ("code_version", "data_versions", "rows", "run_id")
    facts = ", ".join(f"extra ->{'' if WRITES[name] == 'JSON' else '>'} '{name}' AS {name}" for name in fields)
    live = f"""SELECT asset, extra ->> 'batch' AS batch, snapshot_id, written_at, {facts} FROM (
        SELECT snapshot_id, snapshot_time AT TIME ZONE 'UTC' AS written_at, commit_message AS asset,
            TRY_CAST(commit_extra_info AS JSON) AS extra
        FROM lake.snapshots() WHERE starts_with(commit_message, $prefix))"""
    kept = f"{pipeline}.writes"
    return f"({live} UNION ALL BY NAME FROM {table(kept)})" if lake.exists(kept) else f"({live})"
