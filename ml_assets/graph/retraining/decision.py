"""Whether evidence starts a training, waits, or is answered already: a pure function of what the lake says.

Evidence is answered when a training that did not fail was asked for because of it, or had its batch in its training
set. What is not answered waits for a training that is under way, for the fewest batches and labelled rows, for inputs
that are sound, and for the cool-down. While trainings leave the champion as it is, the cool-down doubles with each;
then a cause that was answered before comes through early only when it is clearly worse, or came back after a calm
batch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ml_assets.spec.operation import NewBatches, Retrain
from ml_assets.tables.retrain_events import TRIGGERS, Event, Word

CLEARLY_WORSE = 1.2
# Evidence that is not read from the lake's other tables: it lives on in the row that says that it waits.
CARRIED = ("cron", "report")
SHOWN = 5
Standing = Literal["open", "asked", "answered", "unwanted", "unreadable"]


@dataclass(frozen=True)
class Evidence:
    """Something that asks for a training.

    Args:
        trigger: Of `retrain_events.TRIGGERS`.
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
class Training:
    """A training that was started, or asked for.

    Args:
        snapshot: The lake that it read; before it has a training set, that of the decision.
        state: running (or queued), done (its version was decided about), failed (it came to nothing).
        run_id: Its run, once that has begun.
        event_id: The event that asked for it, or recorded it.
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
        evidence: Drift, decay, reports and the schedule, answered or not.
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

    evidence: Sequence[Evidence] = ()
    arrivals: Mapping[str, int] = field(default_factory=dict)
    labelled: Mapping[str, int] = field(default_factory=dict)
    trainings: Sequence[Training] = ()
    events: Sequence[Event] = ()
    calm: Mapping[str, frozenset[str]] = field(default_factory=dict)
    champion: str | None = None
    champion_since: dt.datetime | None = None
    running: str = ""
    broken: Sequence[str] = ()

    def new_batches(self, training: Training | None) -> list[str]:
        """Batches whose features came after a training had read the lake."""
        return [batch for batch, came in self.arrivals.items() if training is None or came > training.snapshot]

    @property
    def last(self) -> Training | None:
        """The newest training, whatever came of it."""
        return self.trainings[-1] if self.trainings else None

    @property
    def last_good(self) -> Training | None:
        """The newest training that has a training set and did not fail."""
        good = [one for one in self.trainings if one.state != "failed" and one.batches is not None]
        return good[-1] if good else None

    @property
    def in_vain(self) -> list[Training]:
        """Trainings that were decided about since the champion changed, and so did not change it."""
        return [one for one in self.trainings if one.decided_at is not None and self._since_champion(one.decided_at)]

    def answer(self, trigger: str) -> Event | None:
        """The newest decision that answered a trigger with a training, and did not change the champion."""
        done = {one.event_id for one in self.trainings if one.state == "done"}
        for event in reversed(self.events):
            facts = [fact for fact in event.facts if fact["trigger"] == trigger]
            if event.decision == "train" and event.event_id in done and facts:
                return event if self._since_champion(event.decided_at) else None
        return None

    def _since_champion(self, moment: dt.datetime) -> bool:
        return self.champion_since is None or moment > self.champion_since


@dataclass(frozen=True)
class Decision:
    """What to do about some evidence.

    Args:
        word: train, wait or skip.
        why: For people.
        evidence: What it is about.
        standing: Of a skip: why the evidence asks for nothing.
        told: An earlier event says the same, so it needs no row.
    """

    word: Word
    why: str
    evidence: tuple[Evidence, ...]
    standing: Standing = "open"
    told: bool = False

    @property
    def trigger(self) -> str:
        asked = {one.trigger for one in self.evidence}
        return ", ".join(name for name in TRIGGERS if name in asked)

    def as_event(self, champion: str | None, snapshot: int, triggered_by: str) -> Event:
        """The row that records it."""
        facts = [asdict(one) for one in self.evidence]
        event = Event(
            trigger=self.trigger,
            decision=self.word,
            why=self.why,
            triggered_by=triggered_by,
            batches=sorted({batch for one in self.evidence for batch in one.batches}),
            champion=champion,
            evidence={"snapshot": snapshot, "standing": self.standing, "facts": facts},
        )
        return Event(**{**event.__dict__, "run_key": event.event_id}) if self.word == "train" else event


def decide(rules: Retrain, needed_batches: int, now: Situation) -> list[Decision]:
    """What to do now: at most one training, or the reason why it waits, and what is skipped for good.

    Args:
        rules: `retrain` of the YAML.
        needed_batches: Fewest batches with labels that the split can divide.
        now: What the lake says.
    """
    found = [*_first(rules, now), *now.evidence, *_enough_batches(rules, now)]
    known = {one.key for one in found}
    found += [one for one in _carried(now) if one.key not in known]
    by_standing: dict[Standing, list[Evidence]] = {}
    asked = _asked(now)
    for one in found:
        by_standing.setdefault(_standing(rules, now, one, asked), []).append(one)
    decisions = _skips(now, by_standing)
    asking = tuple(by_standing.get("open", ()))
    if asking:
        held = _held(rules, needed_batches, now, asking)
        decisions.append(_wait(now, held, asking) if held else Decision("train", _said(asking, now), asking))
    return decisions


# -- evidence that follows from what was done so far ------------------------------------------------------------


def _first(rules: Retrain, now: Situation) -> list[Evidence]:
    """No champion yet: asks for the first training, and after one that came to nothing again with each new batch."""
    last = now.last
    if now.champion is not None or not rules.on or not now.arrivals:
        return []
    if last is not None and (last.state == "running" or last.decision == "pending"):
        return []
    text = "no version has been trained yet" if last is None else "no version has become champion yet"
    return [Evidence("first", f"first {max(now.arrivals.values())}", text)]


def _enough_batches(rules: Retrain, now: Situation) -> list[Evidence]:
    wanted = [one.new_batches for one in rules.on if isinstance(one, NewBatches)]
    last = now.last_good
    if not wanted or last is None:
        return []
    new = now.new_batches(last)
    if len(new) < min(wanted):
        return []
    text = f"{len(new)} new batches since the last training"
    return [Evidence("new_batches", f"new_batches {last.snapshot}", text, tuple(sorted(new)))]


def _carried(now: Situation) -> list[Evidence]:
    """What waits, or was answered by a training that failed, and cannot be read from another table again."""
    newest = _newest(now)
    failed = {training.event_id for training in now.trainings if training.state == "failed"}
    if newest is None or (newest.decision == "train" and newest.event_id not in failed):
        return []
    return [_fact(fact) for fact in newest.facts if fact["trigger"] in CARRIED]


def _fact(fact: Mapping[str, Any]) -> Evidence:
    return Evidence(**{**fact, "batches": tuple(fact["batches"])})


def _newest(now: Situation) -> Event | None:
    return next((event for event in reversed(now.events) if event.decision != "skip"), None)


# -- what has been answered -------------------------------------------------------------------------------------


def _asked(now: Situation) -> set[str]:
    """Keys of evidence that a training was asked for because of, unless that failed."""
    failed = {training.event_id for training in now.trainings if training.state == "failed"}
    trained = [event for event in now.events if event.decision == "train" and event.event_id not in failed]
    return {fact["key"] for event in trained for fact in event.facts}


def _standing(rules: Retrain, now: Situation, one: Evidence, asked: set[str]) -> Standing:
    if one.error:
        return "unreadable"
    if one.trigger in ("drift", "decay", "report") and ("decay" if one.trigger == "decay" else "drift") not in rules.on:
        return "unwanted"
    if one.key in asked:
        return "asked"
    last = now.last_good
    if one.trigger in ("drift", "decay") and last and last.batches and set(one.batches) <= last.batches:
        return "answered"
    return "open"


def _skips(now: Situation, by_standing: Mapping[Standing, list[Evidence]]) -> list[Decision]:
    """Evidence that asks for nothing, said once."""
    said = {
        (event.evidence.get("standing"), fact["key"])
        for event in now.events
        if event.decision == "skip"
        for fact in event.facts
    }
    last = now.last_good
    reasons: dict[Standing, str] = {
        "unreadable": "",
        "unwanted": "retrain.on does not name it",
        "answered": f"the training set of run {last.run_id if last else None} had it",
    }
    decisions = []
    for standing, reason in reasons.items():
        new = tuple(one for one in by_standing.get(standing, ()) if (standing, one.key) not in said)
        if new:
            why = f"{reason}: {_texts(new)}" if reason else _texts(new)
            decisions.append(Decision("skip", why, new, standing))
    return decisions


# -- what holds a training back ---------------------------------------------------------------------------------


def _wait(now: Situation, held: str, asking: tuple[Evidence, ...]) -> Decision:
    why = f"{held} ({_texts(asking)})"
    newest = _newest(now)
    told = newest is not None and newest.decision == "wait" and newest.why == why
    told = told and newest is not None and {fact["key"] for fact in newest.facts} == {one.key for one in asking}
    return Decision("wait", why, asking, told=told)


def _held(rules: Retrain, needed_batches: int, now: Situation, asking: Sequence[Evidence]) -> str:
    """Why no training can start now; empty where one can."""
    return (
        now.running
        or _too_few_batches(rules, now)
        or _broken(now)
        or _cooling(rules, now, asking)
        or _too_few_labels(rules, needed_batches, now)
    )


def _too_few_batches(rules: Retrain, now: Situation) -> str:
    if len(now.arrivals) >= rules.min_batches:
        return ""
    return f"{len(now.arrivals)} of {rules.min_batches} batches have features (retrain.min_batches)"


def _broken(now: Situation) -> str:
    """A model that learns a broken feature learns to do without it; a person may want just that, and trains by hand."""
    if not now.broken:
        return ""
    more = f"; {len(now.broken) - SHOWN} more" if len(now.broken) > SHOWN else ""
    return (
        f"inputs are broken: {'; '.join(now.broken[:SHOWN])}{more}. Correct the data and materialize the batches "
        "again, or start the training by hand"
    )


def _cooling(rules: Retrain, now: Situation, asking: Sequence[Evidence]) -> str:
    last = now.last
    if last is not None and last.state == "failed" and not now.new_batches(last):
        return f"the last training came to nothing {_where(last)}; a new batch asks again"
    last = next((one for one in reversed(now.trainings) if one.state != "failed"), None)
    if last is None:
        return ""
    come = len(now.new_batches(last))
    first = now.champion is None
    # Without a champion, a training that was refused is tried again with the next batch; the doubling begins then.
    doubled = max(0, len(now.in_vain) - first)
    least = max(1, rules.cooldown_batches) if first else rules.cooldown_batches
    if come < least:
        return f"{_come(come, least)} since the last training (retrain.cooldown_batches)"
    wanted = least * 2**doubled
    if come >= wanted or any(_is_new(now, one) for one in asking):
        return ""
    return (
        f"{_come(come, wanted)} since the last training: {least} (retrain.cooldown_batches), doubled for each of "
        f"{doubled} trainings that did not change the champion"
    )


def _where(training: Training) -> str:
    return f"(run {training.run_id})" if training.run_id else "before its first step"


def _come(come: int, wanted: int) -> str:
    return f"{come} of {wanted} new batches have come"


def _is_new(now: Situation, one: Evidence) -> bool:
    """Is a cause that was answered in vain clearly worse than then, or back after a calm batch?"""
    answer = now.answer(one.trigger)
    if answer is None:
        return False
    measures = [fact["measure"] for fact in answer.facts if fact["trigger"] == one.trigger]
    before = max((measure for measure in measures if measure is not None), default=None)
    if one.measure is not None and before is not None and one.measure >= CLEARLY_WORSE * before:
        return True
    came = min((now.arrivals.get(batch, 0) for batch in one.batches), default=0)
    calm = now.calm.get(one.trigger, frozenset())
    return any(answer.snapshot < now.arrivals.get(batch, 0) < came for batch in calm)


def _too_few_labels(rules: Retrain, needed_batches: int, now: Situation) -> str:
    last = now.last_good
    had = (last.batches if last else None) or frozenset()
    again = sum(rows for batch, rows in now.labelled.items() if batch in had)
    new = sum(rows for batch, rows in now.labelled.items() if batch not in had)
    new += max(0, again - (last.rows if last else 0))
    if new < rules.min_rows:
        since = " that the last training did not have" if last else ""
        return f"{new} of {rules.min_rows} labelled rows{since} (retrain.min_rows)"
    batches = sum(rows > 0 for rows in now.labelled.values())
    if batches < needed_batches:
        return f"{batches} of {needed_batches} batches have labels, fewer than split divides"
    return ""


def _said(asking: Sequence[Evidence], now: Situation) -> str:
    last = now.last
    failed = f"; the training before came to nothing {_where(last)}" if last and last.state == "failed" else ""
    return _texts(asking) + failed


def _texts(evidence: Sequence[Evidence]) -> str:
    more = f"; {len(evidence) - SHOWN} more" if len(evidence) > SHOWN else ""
    return "; ".join(one.text for one in evidence[:SHOWN]) + more
