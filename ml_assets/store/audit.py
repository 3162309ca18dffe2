"""The audit trail: what each snapshot of the lake was written by, read back from its commit message."""

from __future__ import annotations

from dataclasses import dataclass

from ml_assets.store.lake import Lake


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
        """
        SELECT commit_message AS asset, commit_extra_info ->> 'batch' AS batch, max(snapshot_id) AS snapshot_id,
            max_by(commit_extra_info ->> 'code_version', snapshot_id) AS code_version,
            max_by(commit_extra_info ->> 'run_id', snapshot_id) AS run_id
        FROM lake.snapshots() WHERE starts_with(commit_message, ?) GROUP BY ALL
        """,
        [f"{pipeline}/"],
    )
    return {(row["asset"], row["batch"]): LastWrite(**row) for row in rows}


def writer_of(lake: Lake, table: str) -> str | None:
    """Asset key of the newest write of a table, such as `flights.features`; None where no write names the table."""
    rows = lake.rows(
        """
        SELECT max_by(commit_message, snapshot_id) AS asset FROM lake.snapshots()
        WHERE list_contains(json_keys(commit_extra_info::JSON -> 'data_versions'), ?)
        """,
        [table],
    )
    return str(rows[0]["asset"]) if rows[0]["asset"] else None
