"""Whether evidence starts a training, waits, or is settled already: a pure function of what the lake says.

Evidence is settled once a training that did not fail was started because of it, or, where its trigger says so, had its
batches in its training set. What is open waits for a training that is under way, for the fewest batches and labelled
rows, for inputs that are sound, and for the cool-down. While trainings leave the champion as it is, the cool-down
doubles with each; then a cause that was trained for before comes through early only when it is clearly worse, or came
back after a calm batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ml_assets.graph.retraining.situation import Situation, StartedTraining, TrainingReason
from ml_assets.graph.retraining.triggers import TRIGGERS
from ml_assets.spec.operation import Retrain
from ml_assets.tables.retrain_events import Event, Word

CLEARLY_WORSE = 1.2
SHOWN = 5
Status = Literal["open", "requested", "settled", "not_configured", "unreadable"]
# Words that earlier versions stored for the status of what they skipped.
EARLIER: Mapping[str, Status] = {"answered": "settled", "unwanted": "not_configured"}


@dataclass(frozen=True)
class TrainingDecision:
    """What to do about some evidence.

    Args:
        word: train, wait or skip.
        why: For people.
        evidence: What it is about.
        status: Of a skip: why the evidence starts nothing.
        is_recorded: An earlier event says the same, so it needs no row.
    """

    word: Word
    why: str
    evidence: tuple[TrainingReason, ...]
    status: Status = "open"
    is_recorded: bool = False

    @property
    def trigger(self) -> str:
        found = {one.trigger for one in self.evidence}
        return ", ".join(name for name in TRIGGERS if name in found)

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
            evidence={"snapshot": snapshot, "status": self.status, "facts": facts},
        )
        return replace(event, run_key=event.event_id) if self.word == "train" else event


def decide(rules: Retrain, needed_batches: int, now: Situation) -> list[TrainingDecision]:
    """What to do now: at most one training, or the reason why it waits, and what is skipped for good.

    Args:
        rules: `retrain` of the YAML.
        needed_batches: Fewest batches with labels that the split can divide.
        now: What the lake says.
    """
    found = [*now.evidence, *(one for trigger in TRIGGERS.values() for one in trigger.derive(rules, now))]
    known = {one.key for one in found}
    found += [one for one in _carried(now) if one.key not in known]
    by_status: dict[Status, list[TrainingReason]] = {}
    requested = _requested(now)
    for one in found:
        by_status.setdefault(_status(rules, now, one, requested), []).append(one)
    decisions = _skips(now, by_status)
    asking = _in_order(by_status.get("open", ()))
    if asking:
        held = _held(rules, needed_batches, now, asking)
        decisions.append(_wait(now, held, asking) if held else TrainingDecision("train", _why(asking, now), asking))
    return decisions


def _in_order(evidence: Sequence[TrainingReason]) -> tuple[TrainingReason, ...]:
    """By trigger."""
    names = list(TRIGGERS)
    return tuple(sorted(evidence, key=lambda one: names.index(one.trigger)))


# -- evidence that lives on in earlier decisions ----------------------------------------------------------------


def _carried(now: Situation) -> list[TrainingReason]:
    """What waits, or started a training that failed, and cannot be read from another table again."""
    newest = _newest(now)
    failed = {training.event_id for training in now.trainings if training.state == "failed"}
    if newest is None or (newest.decision == "train" and newest.event_id not in failed):
        return []
    carried = {name for name, trigger in TRIGGERS.items() if trigger.carried}
    return [_fact(fact) for fact in newest.facts if fact["trigger"] in carried]


def _fact(fact: Mapping[str, Any]) -> TrainingReason:
    return TrainingReason(**{**fact, "batches": tuple(fact["batches"])})


def _newest(now: Situation) -> Event | None:
    return next((event for event in reversed(now.events) if event.decision != "skip"), None)


# -- what is settled --------------------------------------------------------------------------------------------


def _requested(now: Situation) -> set[str]:
    """Keys of evidence because of which a training was requested, unless that failed."""
    failed = {training.event_id for training in now.trainings if training.state == "failed"}
    trained = [event for event in now.events if event.decision == "train" and event.event_id not in failed]
    return {fact["key"] for event in trained for fact in event.facts}


def _status(rules: Retrain, now: Situation, one: TrainingReason, requested: set[str]) -> Status:
    trigger = TRIGGERS[one.trigger]
    if one.error:
        return "unreadable"
    if not trigger.is_configured(rules):
        return "not_configured"
    if one.key in requested:
        return "requested"
    last = now.last_good
    if trigger.settled_by_batches and last and last.batches and set(one.batches) <= last.batches:
        return "settled"
    return "open"


def _skips(now: Situation, by_status: Mapping[Status, list[TrainingReason]]) -> list[TrainingDecision]:
    """Evidence that starts nothing, recorded once."""
    recorded = {
        (_recorded_status(event), fact["key"])
        for event in now.events
        if event.decision == "skip"
        for fact in event.facts
    }
    last = now.last_good
    reasons: dict[Status, str] = {
        "unreadable": "",
        "not_configured": "retrain.on does not name it",
        "settled": f"the training set of run {last.run_id if last else None} had it",
    }
    decisions = []
    for status, reason in reasons.items():
        new = tuple(one for one in by_status.get(status, ()) if (status, one.key) not in recorded)
        if new:
            why = f"{reason}: {_texts(new)}" if reason else _texts(new)
            decisions.append(TrainingDecision("skip", why, new, status))
    return decisions


def _recorded_status(event: Event) -> str:
    earlier = str(event.evidence.get("standing"))
    return str(event.evidence.get("status") or EARLIER.get(earlier, earlier))


# -- what holds a training back ---------------------------------------------------------------------------------


def _wait(now: Situation, held: str, asking: tuple[TrainingReason, ...]) -> TrainingDecision:
    why = f"{held} ({_texts(asking)})"
    newest = _newest(now)
    is_same = newest is not None and newest.decision == "wait" and newest.why == why
    is_same = is_same and newest is not None and {fact["key"] for fact in newest.facts} == {one.key for one in asking}
    return TrainingDecision("wait", why, asking, is_recorded=is_same)


def _held(rules: Retrain, needed_batches: int, now: Situation, asking: Sequence[TrainingReason]) -> str:
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
    """A model that learns a broken feature learns to do without it; who wants just that starts the training by hand."""
    if not now.broken:
        return ""
    more = f"; {len(now.broken) - SHOWN} more" if len(now.broken) > SHOWN else ""
    return (
        f"inputs are broken: {'; '.join(now.broken[:SHOWN])}{more}. Correct the data and materialize the batches "
        "again, or start the training by hand"
    )


def _cooling(rules: Retrain, now: Situation, asking: Sequence[TrainingReason]) -> str:
    last = now.last
    if last is not None and last.state == "failed" and not now.new_batches(last):
        return f"the last training failed {_where(last)}; the next new batch starts another"
    last = next((one for one in reversed(now.trainings) if one.state != "failed"), None)
    if last is None:
        return ""
    come = len(now.new_batches(last))
    first = now.champion is None
    # Without a champion, a version that was refused is trained again with the next batch; the doubling begins then.
    doublings = max(0, len(now.without_promotion) - first)
    least = max(1, rules.cooldown_batches) if first else rules.cooldown_batches
    if come < least:
        return f"{_come(come, least)} since the last training (retrain.cooldown_batches)"
    needed = least * 2**doublings
    if come >= needed or any(_is_new(now, one) for one in asking):
        return ""
    return (
        f"{_come(come, needed)} since the last training: {least} (retrain.cooldown_batches), doubled for each of "
        f"{doublings} trainings that did not change the champion"
    )


def _where(training: StartedTraining) -> str:
    return f"(run {training.run_id})" if training.run_id else "before its first step"


def _come(come: int, needed: int) -> str:
    return f"{come} of {needed} new batches have arrived"


def _is_new(now: Situation, one: TrainingReason) -> bool:
    """Is a cause that was trained for without promotion clearly worse than then, or back after a calm batch?"""
    attempt = now.fruitless(one.trigger)
    if attempt is None:
        return False
    measures = [fact["measure"] for fact in attempt.facts if fact["trigger"] == one.trigger]
    before = max((measure for measure in measures if measure is not None), default=None)
    if one.measure is not None and before is not None and one.measure >= CLEARLY_WORSE * before:
        return True
    came = min((now.arrivals.get(batch, 0) for batch in one.batches), default=0)
    calm = now.calm.get(one.trigger, frozenset())
    return any(attempt.snapshot < now.arrivals.get(batch, 0) < came for batch in calm)


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


def _why(asking: Sequence[TrainingReason], now: Situation) -> str:
    last = now.last
    failed = f"; the training before failed {_where(last)}" if last and last.state == "failed" else ""
    return _texts(asking) + failed


def _texts(evidence: Sequence[TrainingReason]) -> str:
    more = f"; {len(evidence) - SHOWN} more" if len(evidence) > SHOWN else ""
    return "; ".join(one.text for one in evidence[:SHOWN]) + more
