"""The state of each asset and batch: fresh, or what is wrong with it and what will be done.

An asset is stale by code when its code version is not that of its newest write, and stale by data when the content of
something that it read is no longer what it was at that write. A second write of the same content changes nothing.
What is downstream of something that will be rebuilt is `behind`: it may become stale by data, or may not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Literal

from ml_assets.graph.code_version import is_other_code
from ml_assets.graph.staleness.facts import Files, PipelineFacts
from ml_assets.tables.audit import LastWrite, Place
from ml_assets.tables.data import QUARANTINE, RAW_DATA, VALIDATED_DATA, is_online_batch
from ml_assets.tables.training_sets import TRAINING_SETS

State = Literal["fresh", "frozen", "stale", "behind", "missing", "failed"]
STATES: tuple[State, ...] = ("fresh", "frozen", "stale", "behind", "missing", "failed")
RAW = RAW_DATA.name
# Made by the same step: a failure of the first that left nothing of the second is one of the second, too.
SAME_STEP = {QUARANTINE.name: VALIDATED_DATA.name}


@dataclass(frozen=True)
class Node:
    """An asset, as far as its freshness goes.

    Args:
        key: Such as `flights/features`.
        code_version: Today's.
        upstream: Keys of the assets that it reads.
        by_batch: Has it a partition for each batch?
        kind: rebuilt: by the sensor. trained: by a training only. frozen: by nothing, it records what was.
        looks_back: Key of an asset of which it reads batches before its own, and not its own -> at most how many. An
            asset without batches reads the newest ones.
    """

    key: str
    code_version: str
    upstream: tuple[str, ...]
    by_batch: bool
    kind: Literal["rebuilt", "trained", "frozen"]
    looks_back: Mapping[str, int] = field(default_factory=dict)

    @property
    def pipeline(self) -> str:
        return self.key.partition("/")[0]

    @property
    def asset_name(self) -> str:
        return self.key.partition("/")[2]


@dataclass(frozen=True)
class AssetState:
    """The state of an asset, or of one batch of it.

    Args:
        asset: Its key.
        batch: The batch; None where the asset has none.
        state: fresh | frozen (as made, never evaluated) | stale | behind (something upstream will change) | missing |
            failed (the newest attempt failed, and nothing has changed since).
        why: code, data of an upstream asset, or the error.
        of: Batches of that upstream asset, where they are not this batch.
        since: Snapshot that made it stale or possible; 0 where it was the code.
        redo: Will the sensor rebuild it?
        todo: What will be done about it, or by whom.
    """

    asset: str
    batch: str | None
    state: State
    why: str = ""
    of: tuple[str, ...] = ()
    since: int = 0
    redo: bool = False
    todo: str = ""

    @property
    def asset_name(self) -> str:
        return self.asset.partition("/")[2]


@dataclass(frozen=True)
class StaleCause:
    """Why an earlier attempt no longer counts."""

    why: str
    of: tuple[str, ...] = ()
    since: int = 0


def evaluate(nodes: Mapping[str, Node], facts: PipelineFacts) -> list[AssetState]:
    """The state of every asset and batch of a pipeline, upstream first.

    A frozen asset (predictions, drift reports) without a write is left out: batches that came before the first
    champion never have one.

    Args:
        nodes: Key -> asset.
        facts: What the lake says.
    """
    evaluator = _Evaluator(nodes, facts)
    batches = facts.batches()
    upstream = {key: [name for name in nodes[key].upstream if name in nodes] for key in sorted(nodes)}
    for key in TopologicalSorter(upstream).static_order():
        node = nodes[key]
        for batch in batches if node.by_batch else [None]:
            evaluator.evaluate(node, batch)
    return list(evaluator.verdicts.values())


class _Evaluator:
    """The verdicts so far, which those downstream depend on."""

    def __init__(self, nodes: Mapping[str, Node], facts: PipelineFacts) -> None:
        self.nodes = nodes
        self.facts = facts
        self.trail = facts.trail
        self.verdicts: dict[Place, AssetState] = {}

    def evaluate(self, node: Node, batch: str | None) -> None:
        if node.kind == "frozen":
            verdict = self._frozen(node, batch)
        elif node.kind == "trained" or batch is None:
            verdict = self._whole(node)
        elif node.asset_name == RAW:
            verdict = self._raw(node, batch, self.facts.files.get(batch, Files()))
        else:
            verdict = self._by_batch(node, batch)
        if verdict is not None:
            self.verdicts[(node.key, batch)] = verdict

    # -- assets with batches ------------------------------------------------------------------------------------

    def _by_batch(self, node: Node, batch: str) -> AssetState:
        place = (node.key, batch)
        write, failure = self._attempts(place)
        needs = [(key, batch) for key in node.upstream if self._is_by_batch(key)]
        absent = [key for key, _ in needs if not (self.trail.content((key, batch)) or self._redo((key, batch)))]
        redo = not absent
        if absent:
            asset_names = ", ".join(sorted(key.partition("/")[2] for key in absent))
            todo = f"follows {asset_names}"
        else:
            todo = f"sensor {node.pipeline}_stale"
        newest = failure or write
        if newest is None:
            since = max((self.trail.changed_at(need) for need in needs), default=0)
            return AssetState(*place, "missing", "never made", since=since, redo=redo, todo=todo)
        inputs = self._inputs(node, batch)
        cause = self._cause(node, newest, inputs, batch)
        if cause is not None:
            state: State = "stale" if write else "missing"
            return AssetState(*place, state, cause.why, cause.of, cause.since, redo, todo)
        will_change = {place[0].partition("/")[2] for place in inputs if self._redo(place)}
        if will_change:
            return AssetState(*place, "behind", f"{', '.join(sorted(will_change))} will change", redo=redo, todo=todo)
        return self._failed(place) if failure else AssetState(*place, "fresh")

    def _raw(self, node: Node, batch: str, files: Files) -> AssetState:
        """raw_data reads files: those that have vanished cannot be read again, new ones are the other sensor's."""
        place = (node.key, batch)
        write, failure = self._attempts(place)
        arrival = f"sensor {node.pipeline}_new_data"
        if files.refused and not files.ready:
            return self._failed(place, files.refused)
        newest = failure or write
        if newest is None:
            return AssetState(*place, "missing", "never made", todo=arrival)
        if is_other_code(newest.code_version, node.code_version):
            state: State = "stale" if write else "missing"
            if not _can_be_read(batch, files):
                return AssetState(*place, state, "code; its files have vanished", todo="bring the files back")
            return AssetState(*place, state, "code", redo=True, todo=f"sensor {node.pipeline}_stale")
        if failure or files.refused:
            return self._failed(place, files.refused)
        if files.ready - files.read:  # rows of vanished files stay
            return AssetState(*place, "stale", "data of its files", todo=arrival)
        return AssetState(*place, "fresh")

    def _frozen(self, node: Node, batch: str | None) -> AssetState | None:
        place = (node.key, batch)
        write, failure = self._attempts(place)
        if failure:
            return self._failed(place)
        return AssetState(*place, "frozen") if write else None

    def _inputs(self, node: Node, batch: str) -> list[Place]:
        """What an asset reads for a batch: the same batch of its upstream, or those before it."""
        same = [key for key in node.upstream if self._is_by_batch(key) and key not in node.looks_back]
        own: list[Place] = [(key, batch) for key in same]
        validated, end = self.facts.validated, bisect_left(self.facts.validated, batch)
        return own + [
            (key, name) for key, most in node.looks_back.items() for name in validated[max(end - most, 0) : end]
        ]

    # -- assets without batches ---------------------------------------------------------------------------------

    def _whole(self, node: Node) -> AssetState:
        """arrivals, and what a training makes. New batches make no training stale: the sensor `retrain` decides."""
        place = (node.key, None)
        redo = node.kind == "rebuilt"
        todo = f"sensor {node.pipeline}_stale" if redo else f"job {node.pipeline}_train"
        write = self.trail.writes.get(place)
        if write is None and node.looks_back:
            return AssetState(*place, "missing", "never made", redo=bool(self.facts.validated), todo=todo)
        if write is None:
            return AssetState(
                *place, "missing", "never made", todo=f"sensor {node.pipeline}_new_data" if redo else todo
            )
        read = self._newest(node) if node.looks_back else self._read_then(node, write)
        cause = self._cause(node, write, read, None)
        if cause is None and node.kind == "trained" and node.key not in self.facts.of_newest_pin:
            cause = StaleCause(
                f"data of {TRAINING_SETS.name}", since=self.trail.changed_at((TRAINING_SETS.asset(node.pipeline), None))
            )
        if cause is not None:
            return AssetState(*place, "stale", cause.why, cause.of, cause.since, redo, todo)
        places = [*read, *((key, None) for key in node.upstream if node.kind == "trained")]
        if any(self._changes(one) for one in places):
            return AssetState(*place, "behind", "what it was made from will change", redo=redo, todo=todo)
        return AssetState(*place, "fresh")

    def _read_then(self, node: Node, write: LastWrite) -> list[Place]:
        """The batches upstream that were there at a write."""
        return [
            (key, batch)
            for key in node.upstream
            if self._is_by_batch(key)
            for batch in self.facts.batches()
            if self.trail.content((key, batch), write.snapshot_id)
        ]

    def _newest(self, node: Node) -> list[Place]:
        """The newest batches of what it looks back on, and what it reads that has no batches."""
        newest = [(key, name) for key, most in node.looks_back.items() for name in self.facts.validated[-most:] if most]
        return [*newest, *((key, None) for key in node.upstream if not self._is_by_batch(key))]

    # -- what both need ------------------------------------------------------------------------------------------

    def _cause(self, node: Node, attempt: LastWrite, read: Sequence[Place], batch: str | None) -> StaleCause | None:
        if is_other_code(attempt.code_version, node.code_version):
            return StaleCause("code")
        later = [place for place in read if self.trail.changed_at(place) > attempt.knew]
        changed = [place for place in later if self.trail.content(place) != self.trail.content(place, attempt.knew)]
        if not changed:
            return None
        asset_names = sorted({key.partition("/")[2] for key, _ in changed})
        others = sorted({name for _, name in changed if name is not None and name != batch})
        since = max(self.trail.changed_at(place) for place in changed)
        return StaleCause(f"data of {', '.join(asset_names)}", tuple(others), since)

    def _attempts(self, place: Place) -> tuple[LastWrite | None, LastWrite | None]:
        """The newest write, and the newest failure if it is newer."""
        write, failure = self.trail.writes.get(place), self.trail.failures.get(place)
        if write and failure and failure.snapshot_id < write.snapshot_id:
            failure = None
        if write is None and failure is None:
            failure = self.trail.failures.get(self._same_step(place))
        return write, failure

    def _same_step(self, place: Place) -> Place:
        pipeline, _, asset_name = place[0].partition("/")
        return f"{pipeline}/{SAME_STEP.get(asset_name, asset_name)}", place[1]

    def _failed(self, place: Place, error: str | None = None) -> AssetState:
        text = error or self.facts.errors.get(place) or self.facts.errors.get(self._same_step(place), "")
        return AssetState(*place, "failed", text, todo="fix the error")

    def _redo(self, place: Place) -> bool:
        verdict = self.verdicts.get(place)
        return verdict is not None and verdict.redo

    def _changes(self, place: Place) -> bool:
        """Will it be rebuilt, or should it be?"""
        verdict = self.verdicts.get(place)
        if verdict is None or place[1] is not None:
            return self._redo(place)
        return verdict.state in ("stale", "behind", "missing")

    def _is_by_batch(self, key: str) -> bool:
        return key in self.nodes and self.nodes[key].by_batch


@dataclass(frozen=True)
class Redo:
    """One run that rebuilds stale batches.

    Args:
        assets: Keys, upstream first.
        batches: The stale ones, in the order of registration; those between the first and the last run, too.
    """

    assets: tuple[str, ...]
    batches: tuple[str, ...]


def plan(verdicts: Iterable[AssetState], facts: PipelineFacts, registered: Sequence[str]) -> list[Redo]:
    """What the sensor requests: one run from the first stale batch to the last.

    Where raw_data is read again and files between them have vanished, it is a run on each side of the gap.

    Args:
        verdicts: From `evaluate`.
        facts: What the lake says.
        registered: Batches in the order of their registration, which is what a range means to Dagster.
    """
    redo = [verdict for verdict in verdicts if verdict.redo]
    assets = tuple(dict.fromkeys(verdict.asset for verdict in redo))
    stale = {verdict.batch for verdict in redo if verdict.batch is not None}
    if not stale:
        return [Redo(assets, ())] if assets else []
    reads_files = any(verdict.asset_name == RAW for verdict in redo)
    pieces: list[list[str]] = [[]]
    for batch in registered:
        if reads_files and not _can_be_read(batch, facts.files.get(batch, Files())):
            pieces.append([])
        elif batch in stale:
            pieces[-1].append(batch)
    return [Redo(assets, tuple(piece)) for piece in pieces if piece]


def _can_be_read(batch: str, files: Files) -> bool:
    """Can raw_data be made again? Batches of logged requests have no files."""
    return bool(files.ready) or is_online_batch(batch)


def spans(batches: Iterable[str], known: Sequence[str]) -> str:
    """Batches as ranges of neighbours with their number: `2013-01…2013-09 (9), 2013-12`."""
    chosen = set(batches)
    found: list[list[str]] = [[]]
    for batch in known:
        if batch in chosen:
            found[-1].append(batch)
        elif found[-1]:
            found.append([])
    texts = [span[0] if len(span) == 1 else f"{span[0]}…{span[-1]} ({len(span)})" for span in found if span]
    return ", ".join(texts)
