"""What the lake says about a pipeline's freshness: writes, failures, files, pins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ml_assets.lake.audit import Place, Trail
from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import table
from ml_assets.tables.families import FAILURES, read_trail

# Rows that say what a training asset was made from: {t} is its table, {models} that of the model versions.
OF_PIN = {
    "trained_model": "SELECT 1 FROM {t} WHERE pin_id = $pin",
    "evaluation_report": "SELECT 1 FROM {t} WHERE pin_id = $pin",
    "release_candidate": "SELECT 1 FROM {t} WHERE version IN (SELECT version FROM {models} WHERE pin_id = $pin)",
    "champion": "SELECT 1 FROM {t} WHERE version IN (SELECT version FROM {models} WHERE pin_id = $pin)",
}


@dataclass(frozen=True)
class Files:
    """The files of a batch.

    Args:
        ready: SHA-256 of each file that can be read.
        read: SHA-256 of each file whose rows raw_data holds.
        refused: Why a file is refused; None where none is.
    """

    ready: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()
    refused: str | None = None


@dataclass(frozen=True)
class Facts:
    """What the lake says about a pipeline.

    Args:
        trail: Its writes, failures and contents.
        errors: (asset, batch) -> text of its newest failure.
        files: Batch -> its files.
        validated: Batches with validated rows, in order: what lookups look back on.
        of_newest_pin: Training assets that were made from the newest training set.
    """

    trail: Trail = field(default_factory=Trail)
    errors: Mapping[Place, str] = field(default_factory=dict)
    files: Mapping[str, Files] = field(default_factory=dict)
    validated: Sequence[str] = ()
    of_newest_pin: frozenset[str] = frozenset()

    def batches(self) -> list[str]:
        """Every batch that has been written or tried, or whose files are there, in order."""
        seen = {batch for _, batch in [*self.trail.writes, *self.trail.failures] if batch is not None}
        return sorted(seen | {batch for batch, files in self.files.items() if files.ready or files.refused})


def read_facts(lake: Lake, pipeline: str) -> Facts:
    """The facts of one pipeline; empty where there is no lake yet."""
    if not lake.catalog.exists():
        return Facts()
    return Facts(
        trail=read_trail(lake, pipeline),
        errors=_errors(lake, pipeline),
        files=_files(lake, pipeline),
        validated=lake.batches(f"{pipeline}.validated_data"),
        of_newest_pin=_of_newest_pin(lake, pipeline),
    )


def _errors(lake: Lake, pipeline: str) -> dict[Place, str]:
    rows = lake.rows_of(
        f"{pipeline}.{FAILURES}",
        "SELECT asset, batch, max_by(error, failed_at) AS error FROM {t} WHERE batch IS NOT NULL GROUP BY ALL",
    )
    return {(row["asset"], row["batch"]): row["error"] for row in rows}


def _files(lake: Lake, pipeline: str) -> dict[str, Files]:
    ready: dict[str, set[str]] = {}
    read = lake.values_by_batch(f"{pipeline}.raw_data", "source_sha256")
    refused: dict[str, str] = {}
    for row in lake.rows_of(
        f"{pipeline}.arrivals", "SELECT batch, status, sha256, error FROM {t} WHERE batch IS NOT NULL"
    ):
        ready.setdefault(row["batch"], set())
        if row["status"] == "ready":
            ready[row["batch"]].add(row["sha256"])
        elif row["status"] == "refused":
            refused[row["batch"]] = row["error"]
    return {
        batch: Files(frozenset(ready.get(batch, ())), frozenset(read.get(batch, ())), refused.get(batch))
        for batch in {*ready, *read}
    }


def _of_newest_pin(lake: Lake, pipeline: str) -> frozenset[str]:
    newest = lake.rows_of(f"{pipeline}.training_set", "SELECT max_by(pin_id, created_at) AS pin FROM {t}")
    if not newest:
        return frozenset()
    pin = {"pin": newest[0]["pin"]}
    tuned = lake.rows_of(f"{pipeline}.candidates", "SELECT DISTINCT candidate FROM {t} WHERE pin_id = $pin", pin)
    made = {f"{pipeline}/candidate_{row['candidate']}" for row in tuned}
    for asset_name, sql in OF_PIN.items():
        models = table(f"{pipeline}.trained_model")
        if lake.rows_of(f"{pipeline}.{asset_name}", f"{sql} LIMIT 1".replace("{models}", models), pin):
            made.add(f"{pipeline}/{asset_name}")
    return frozenset({*made, f"{pipeline}/training_set"})
