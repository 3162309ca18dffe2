"""What the lake says about a pipeline's freshness: writes, failures, files, pins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ml_assets.lake.lake import Lake
from ml_assets.tables import (
    arrivals,
    candidates,
    data,
    decisions,
    evaluations,
    ingest_errors,
    releases,
    training_sets,
    versions,
)
from ml_assets.tables.audit import Place, Trail, read_trail
from ml_assets.tables.decisions import DECISIONS
from ml_assets.tables.evaluations import EVALUATIONS
from ml_assets.tables.releases import RELEASES
from ml_assets.tables.training_sets import TRAINING_SETS
from ml_assets.tables.versions import VERSIONS


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
class PipelineFacts:
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


def read_facts(lake: Lake, pipeline: str) -> PipelineFacts:
    """The facts of one pipeline; empty where there is no lake yet."""
    if not lake.catalog.exists():
        return PipelineFacts()
    return PipelineFacts(
        trail=read_trail(lake, pipeline),
        errors=ingest_errors.texts(lake, pipeline),
        files=_files(lake, pipeline),
        validated=data.validated_batches(lake, pipeline),
        of_newest_pin=_of_newest_pin(lake, pipeline),
    )


def _files(lake: Lake, pipeline: str) -> dict[str, Files]:
    ready: dict[str, set[str]] = {}
    read = data.source_hashes(lake, pipeline)
    refused: dict[str, str] = {}
    for batch, status, sha256, error in arrivals.states(lake, pipeline):
        ready.setdefault(batch, set())
        if status == "ready":
            ready[batch].add(str(sha256))
        elif status == "refused":
            refused[batch] = str(error)
    return {
        batch: Files(frozenset(ready.get(batch, ())), frozenset(read.get(batch, ())), refused.get(batch))
        for batch in {*ready, *read}
    }


def _of_newest_pin(lake: Lake, pipeline: str) -> frozenset[str]:
    pin = training_sets.newest_id(lake, pipeline)
    if pin is None:
        return frozenset()
    tuned = {f"{pipeline}/{candidates.asset_name(name)}" for name in candidates.newest(lake, pipeline, pin)}
    named = [model.version for model in versions.versions(lake, pipeline) if model.pin_id == pin]
    made = {TRAINING_SETS, *([VERSIONS] if named else [])}
    made |= {EVALUATIONS} if evaluations.newest(lake, pipeline, named, ["test"]) else set()
    made |= {RELEASES} if any(releases.newest(lake, pipeline, version) for version in named) else set()
    made |= {DECISIONS} if any(one.version in named for one in decisions.decisions(lake, pipeline)) else set()
    return frozenset(tuned | {table.asset(pipeline) for table in made})
