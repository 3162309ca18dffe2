"""What a decision about a training depends on: evidence, earlier trainings and decisions, batches and their labels."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ml_assets.tables.retrain_events import Event


@dataclass(frozen=True)
class TrainingReason:
    """A reason for a training.

    Args:
        trigger: Name of its trigger (triggers.py).
        key: Tells it from all other evidence of the pipeline, for ever.
        text: What was found.
        batches: Batches that it is about.
        measure: How bad it is, comparable with that of the same trigger.
        error: It cannot be read; the text says why.
    """

    trigger: str
    key: str
    text: str
    batches: tuple[str, ...] = ()
    measure: float | None = None
    error: bool = False


@dataclass(frozen=True)
class StartedTraining:
    """A training that was started, or requested.

    Args:
        snapshot: The lake that it read; before it has a training set, that of the decision.
        state: running (or queued), done (its version was decided about), failed (no version came of it).
        run_id: Its run, once that has begun.
        event_id: The event that requested it, or recorded it.
        batches: Batches of its training set; None where it has none.
        rows: Labelled rows of its training set.
        version: The version that it made.
        decision: What was decided about that version last.
        decided_at: When it was decided about first.
    """

    snapshot: int
    state: Literal["running", "done", "failed"]
    run_id: str | None = None
    event_id: str | None = None
    batches: frozenset[str] | None = None
    rows: int = 0
    version: str | None = None
    decision: str | None = None
    decided_at: dt.datetime | None = None


@dataclass(frozen=True)
class Situation:
    """All that a decision depends on, beside the YAML.

    Args:
        evidence: What the triggers found, settled or not.
        arrivals: Batch with features -> snapshot at which they were first written.
        labelled: Batch with features -> rows whose target is known.
        trainings: Oldest first.
        events: Earlier decisions, oldest first.
        calm: Trigger -> batches that were judged and found calm.
        champion: Its version.
        champion_since: When the alias moved last.
        running: The training that is queued or running, in words.
        broken: Broken features of labelled batches that the last training did not have, one sentence each.
    """

    evidence: Sequence[TrainingReason] = ()
    arrivals: Mapping[str, int] = field(default_factory=dict)
    labelled: Mapping[str, int] = field(default_factory=dict)
    trainings: Sequence[StartedTraining] = ()
    events: Sequence[Event] = ()
    calm: Mapping[str, frozenset[str]] = field(default_factory=dict)
    champion: str | None = None
    champion_since: dt.datetime | None = None
    running: str = ""
    broken: Sequence[str] = ()

    def new_batches(self, training: StartedTraining | None) -> list[str]:
        """Batches whose features came after a training had read the lake."""
        return [batch for batch, came in self.arrivals.items() if training is None or came > training.snapshot]

    @property
    def last(self) -> StartedTraining | None:
        """The newest training, whatever came of it."""
        return self.trainings[-1] if self.trainings else None

    @property
    def last_good(self) -> StartedTraining | None:
        """The newest training that has a training set and did not fail."""
        good = [one for one in self.trainings if one.state != "failed" and one.batches is not None]
        return good[-1] if good else None

    @property
    def without_promotion(self) -> list[StartedTraining]:
        """Trainings that were decided about since the champion changed, and so did not change it."""
        return [one for one in self.trainings if one.decided_at is not None and self._since_champion(one.decided_at)]

    def fruitless(self, trigger: str) -> Event | None:
        """The newest decision that started a training because of a trigger and did not change the champion."""
        done = {one.event_id for one in self.trainings if one.state == "done"}
        for event in reversed(self.events):
            facts = [fact for fact in event.facts if fact["trigger"] == trigger]
            if event.decision == "train" and event.event_id in done and facts:
                return event if self._since_champion(event.decided_at) else None
        return None

    def _since_champion(self, moment: dt.datetime) -> bool:
        return self.champion_since is None or moment > self.champion_since
