"""The rules alone: what is settled, what waits and why, and what starts one training."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ml_assets.graph.retraining import rules
from ml_assets.graph.retraining.rules import TrainingDecision, decide
from ml_assets.graph.retraining.situation import Situation, StartedTraining, TrainingReason
from ml_assets.graph.retraining.triggers import TRIGGERS, Trigger
from ml_assets.spec.operation import Retrain
from ml_assets.tables.retrain_events import Event

NOON = dt.datetime(2026, 1, 1, 12)


def at(hours: float) -> dt.datetime:
    return NOON + dt.timedelta(hours=hours)


def drift(batch: int, measure: float | None = 0.6, trigger: str = "drift") -> TrainingReason:
    return TrainingReason(trigger, f"{trigger} {batch} 1.0.0", f"batch {batch} has drifted", (str(batch),), measure)


def arrivals(*batches: int) -> dict[str, int]:
    """Batch n comes with snapshot 10 n."""
    return {str(batch): 10 * batch for batch in batches}


def training(last_batch: int, hour: float = -1, decision: str = "promoted", **more: Any) -> StartedTraining:
    """Of the batches up to this one."""
    seen = frozenset(str(batch) for batch in range(1, last_batch + 1))
    facts: dict[str, Any] = {"state": "done", "version": "1.0.0", "decision": decision, "decided_at": at(hour)}
    facts |= {"snapshot": 10 * last_batch + 5, "batches": seen, "rows": 100 * last_batch, "run_id": "r"}
    return StartedTraining(**{**facts, **more})


def calm(*batches: int, **more: Any) -> Situation:
    """Three batches or more, of which the champion knows the first three; every batch has 100 labelled rows."""
    there = arrivals(*(batches or (1, 2, 3, 4)))
    facts: dict[str, Any] = {"champion": "1.0.0", "champion_since": NOON, "trainings": [training(3)]}
    return Situation(**{**facts, "arrivals": there, "labelled": dict.fromkeys(there, 100), **more})


def asked(hour: float, *evidence: TrainingReason, snapshot: int = 0, event_id: str = "e") -> Event:
    event = TrainingDecision("train", "why", evidence).as_event("1.0.0", snapshot, "sensor loans_retrain")
    return replace(event, event_id=event_id, run_key=event_id, decided_at=at(hour))


def words(decisions: list[TrainingDecision]) -> list[tuple[str, str]]:
    return [(one.word, one.trigger) for one in decisions if not one.is_recorded]


def decided(now: Situation, needed: int = 3, **rules: Any) -> list[TrainingDecision]:
    return decide(Retrain(**{"min_batches": 3, "min_rows": 100, **rules}), needed, now)


def recorded(now: Situation, decisions: list[TrainingDecision], hour: float) -> Situation:
    """The situation after the rows of a decision were written."""
    events = [replace(one.as_event("1.0.0", 1, "x"), decided_at=at(hour)) for one in decisions if not one.is_recorded]
    return replace(now, events=[*now.events, *events])


def only(now: Situation, **rules: Any) -> TrainingDecision:
    (decision,) = decided(now, **rules)
    return decision


# -- the first training -----------------------------------------------------------------------------------------


def untrained(*batches: int, **more: Any) -> Situation:
    return calm(*batches, champion=None, champion_since=None, **{"trainings": [], **more})


def test_the_first_training_starts_when_there_is_enough() -> None:
    assert words(decided(untrained(1, 2, 3))) == [("train", "first")]
    assert "no version has been trained yet" in only(untrained(1, 2, 3)).why
    assert decided(untrained(1, 2, 3), on=[]) == []


@pytest.mark.parametrize(
    ("now", "rules", "why"),
    [
        (untrained(1, 2), {}, "2 of 3 batches have features (retrain.min_batches)"),
        (untrained(1, 2, 3, labelled={"1": 50, "2": 49}), {}, "99 of 100 labelled rows (retrain.min_rows)"),
        (untrained(1, 2, 3, labelled={"1": 500, "2": 0}), {}, "1 of 3 batches have labels"),
    ],
)
def test_the_first_training_waits(now: Situation, rules: Mapping[str, Any], why: str) -> None:
    decision = only(now, **rules)
    assert (decision.word, decision.trigger) == ("wait", "first")
    assert why in decision.why


FAILED: dict[str, Any] = {"state": "failed", "decision": None, "decided_at": None}


@pytest.mark.parametrize(
    ("came_to", "why"),
    [(FAILED, "failed (run r); the next new batch"), ({"decision": "refused"}, "0 of 1 new batches")],
)
def test_a_first_training_without_promotion_is_repeated_with_the_next_batch(came_to: dict[str, Any], why: str) -> None:
    tried = training(3, **came_to)
    waits = only(untrained(1, 2, 3, trainings=[tried]))
    assert (waits.word, why in waits.why) == ("wait", True)
    assert words(decided(untrained(1, 2, 3, 4, trainings=[tried]))) == [("train", "first")]


def test_the_second_first_training_without_promotion_doubles() -> None:
    tried = [training(3, decision="refused"), training(4, decision="refused")]
    assert "1 of 2 new batches" in only(untrained(1, 2, 3, 4, 5, trainings=tried)).why
    assert words(decided(untrained(1, 2, 3, 4, 5, 6, trainings=tried))) == [("train", "first")]


@pytest.mark.parametrize("goes_on", [{"state": "running", "decision": None}, {"decision": "pending"}])
def test_nothing_more_is_asked_while_the_first_goes_on(goes_on: dict[str, Any]) -> None:
    assert decided(untrained(1, 2, 3, 4, trainings=[training(3, **goes_on)])) == []


# -- what starts a training, and what is settled --------------------------------------------------------------


def test_drift_and_decay_of_a_new_batch_make_one_training() -> None:
    now = calm(evidence=[drift(4), drift(4, trigger="decay")])
    decision = only(now)
    assert (decision.word, decision.trigger) == ("train", "drift, decay")
    event = decision.as_event("1.0.0", 7, "sensor loans_retrain")
    assert event.run_key == event.event_id
    assert (event.batches, event.snapshot, event.champion) == (["4"], 7, "1.0.0")
    assert event.tags() == {
        "ml_assets/retrain": "drift, decay",
        "ml_assets/batches": "4",
        "ml_assets/retrain_event": event.event_id,
        "ml_assets/why": "batch 4 has drifted; batch 4 has drifted",
    }


def test_no_training_starts_on_broken_inputs_without_a_person() -> None:
    wind = "wind is missing in 100% of the rows, usually in 2% (since batch 4)"
    for now in (calm(evidence=[drift(4)], broken=[wind]), untrained(1, 2, 3, broken=[wind])):
        decision = only(now)
        assert decision.word == "wait"
        assert decision.why.startswith(f"inputs are broken: {wind}. Correct the data and materialize the batches again")
        assert only(recorded(now, [decision], 1)).is_recorded
        assert only(replace(now, broken=())).word == "train"
    cron = TrainingReason("cron", "cron 1", "the schedule of 1")
    assert only(calm(evidence=[cron], broken=[wind])).word == "wait"


def test_a_calm_pipeline_asks_for_nothing() -> None:
    assert decided(calm()) == []


def test_what_the_yaml_does_not_name_is_skipped_once() -> None:
    now = calm(evidence=[drift(4)])
    decision = only(now, on=["decay"])
    assert (decision.word, decision.why) == ("skip", "retrain.on does not name it: batch 4 has drifted")
    after = recorded(now, [decision], 1)
    assert decided(after, on=["decay"]) == []
    assert words(decided(after, on=["drift"])) == [("train", "drift")]  # it may be named later


def test_a_batch_of_the_newest_training_is_settled_and_recorded_once() -> None:
    now = calm(evidence=[drift(2), drift(3)])
    decision = only(now)
    assert (decision.word, decision.status) == ("skip", "settled")
    assert "training set of run r had it" in decision.why
    assert decided(recorded(now, [decision], 1)) == []
    running = replace(now, trainings=[training(3, state="running", decision=None, decided_at=None)])
    assert words(decided(running)) == [("skip", "drift")]
    failed = replace(now, trainings=[training(3, **FAILED)])
    assert words(decided(failed)) == [("train", "drift")]


@pytest.mark.parametrize(("stored", "on"), [("answered", ["drift"]), ("unwanted", ["decay"])])
def test_what_an_earlier_version_has_skipped_is_not_recorded_again(stored: str, on: list[str]) -> None:
    now = calm(evidence=[drift(3)])
    skipped = only(now, on=on).as_event("1.0.0", 1, "x")
    earlier = replace(skipped, evidence={"standing": stored, "facts": skipped.facts})
    assert decided(replace(now, events=[earlier]), on=on) == []
    assert words(decided(replace(now, events=[replace(earlier, evidence={"facts": skipped.facts})]), on=on))


class Weekly(Trigger):
    """A trigger as somebody would add it."""

    name = "weekly"
    settled_by_batches = True

    def derive(self, rules: Retrain, now: Situation) -> list[TrainingReason]:
        return [TrainingReason(self.name, "weekly 4", "a week has passed", ("4",))]


def test_a_trigger_is_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "TRIGGERS", {**TRIGGERS, "weekly": Weekly()})
    now = calm(evidence=[drift(4)])
    decision = only(now)
    assert (decision.word, decision.trigger, decision.why) == (
        "train",
        "drift, weekly",
        "batch 4 has drifted; a week has passed",
    )
    learned = replace(now, trainings=[training(4)])
    assert [(one.status, one.trigger) for one in decided(learned)] == [("settled", "drift, weekly")]


def test_what_was_requested_is_not_requested_again_unless_it_failed() -> None:
    event = asked(1, drift(4), snapshot=45)
    queued = StartedTraining(45, "running", event_id="e")
    now = calm(evidence=[drift(4)], events=[event], trainings=[training(3), queued])
    assert decided(now) == []
    done = training(3, 2, "refused", snapshot=45, event_id="e")  # without batch 4: its labels are not known yet
    assert decided(replace(now, trainings=[training(3), done])) == []
    failed = replace(queued, state="failed", run_id="gone")
    waits = only(replace(now, trainings=[training(3), failed]))
    assert (waits.word, "failed (run gone); the next new batch starts another" in waits.why) == ("wait", True)
    later = calm(1, 2, 3, 4, 5, evidence=[drift(4)], events=[event], trainings=[training(3), failed])
    assert "the training before failed (run gone)" in only(later).why
    assert only(later).word == "train"


def test_new_batches_are_counted_since_the_newest_training() -> None:
    rules = {"on": [{"new_batches": 2}]}
    assert decided(calm(1, 2, 3, 4), **rules) == []
    decision = only(calm(1, 2, 3, 4, 5), **rules)
    assert (decision.word, decision.trigger, decision.evidence[0].batches) == ("train", "new_batches", ("4", "5"))
    # A batch that is written again has not come again.
    assert decided(replace(calm(1, 2, 3, 4), arrivals={"1": 10, "2": 20, "3": 30}), **rules) == []


def test_an_unreadable_report_is_said_once_and_hides_nothing() -> None:
    broken = TrainingReason("report", "report x", "a.json: no JSON", error=True)
    now = calm(evidence=[broken, drift(4)])
    assert words(decided(now)) == [("skip", "report"), ("train", "drift")]
    assert decided(now)[0].why == "a.json: no JSON"
    assert words(decided(recorded(now, decided(now)[:1], 1))) == [("train", "drift")]


def test_reports_of_other_jobs_count_as_drift() -> None:
    report = TrainingReason("report", "report y", "report y says drift", measure=0.8)
    assert words(decided(calm(evidence=[report]))) == [("train", "report")]
    assert words(decided(calm(evidence=[report]), on=["decay"])) == [("skip", "report")]


def test_the_schedule_needs_no_name_but_keeps_the_rules() -> None:
    cron = TrainingReason("cron", "cron 1", "the schedule of 03:00")
    assert words(decided(calm(evidence=[cron]), on=[])) == [("train", "cron")]
    assert words(decided(calm(1, 2, 3, evidence=[cron]), on=[])) == [("wait", "cron")]


# -- what holds it back -----------------------------------------------------------------------------------------


def test_a_training_that_is_under_way_is_waited_for() -> None:
    now = calm(evidence=[drift(4)], running="the training of run x is under way")
    decision = only(now)
    assert decision.word == "wait"
    assert decision.why == "the training of run x is under way (batch 4 has drifted)"


def test_the_same_wait_is_written_once_and_not_forgotten() -> None:
    late = training(4, batches=frozenset("123"), rows=300)  # trained when batch 4 was there without labels
    now = calm(evidence=[drift(4)], trainings=[late])
    decision = only(now)
    assert "0 of 1 new batches have arrived since the last training (retrain.cooldown_batches)" in decision.why
    after = recorded(now, [decision], 1)
    assert [(one.word, one.is_recorded) for one in decided(after)] == [("wait", True)]
    assert words(decided(after, cooldown_batches=2)) == [("wait", "drift")]  # another reason is another row
    assert words(decided(replace(after, evidence=[drift(4), drift(4, trigger="decay")]))) == [("wait", "drift, decay")]
    there = arrivals(1, 2, 3, 4, 5)
    again = replace(after, arrivals=there, labelled=dict.fromkeys(there, 100))
    assert words(decided(again)) == [("train", "drift")]


def test_what_no_table_holds_waits_in_its_row() -> None:
    cron = TrainingReason("cron", "cron 1", "the schedule of 03:00")
    report = TrainingReason("report", "report y", "report y says drift", measure=0.8)
    waiting = recorded(calm(1, 2, 3), decided(calm(1, 2, 3, evidence=[cron, report])), 1)
    assert [(one.word, one.is_recorded) for one in decided(waiting)] == [("wait", True)]
    there = arrivals(1, 2, 3, 4)
    come = replace(waiting, arrivals=there, labelled=dict.fromkeys(there, 100))
    assert words(decided(come)) == [("train", "report, cron")]
    events = [*come.events, asked(2, cron, report)]
    failed = replace(come, events=events, trainings=[training(3), StartedTraining(35, "failed", event_id="e")])
    assert words(decided(failed)) == [("train", "report, cron")]
    assert "before its first step" in decided(failed)[0].why
    by_hand = replace(come, events=[*come.events, Event("manual", "train", "", "me", decided_at=at(2))])
    assert decided(by_hand) == []


@pytest.mark.parametrize(("fruitless", "needed"), [(0, 1), (1, 2), (2, 4), (3, 8)])
def test_the_cool_down_doubles_with_each_training_without_promotion(fruitless: int, needed: int) -> None:
    trainings = [training(3), *(training(3, hour, "refused") for hour in range(1, fruitless + 1))]
    for come in range(needed + 1):
        evidence = [drift(3 + come)] if come else [TrainingReason("cron", "cron", "cron")]
        now = calm(*range(1, 4 + come), trainings=trainings, evidence=evidence)
        assert decided(now)[-1].word == ("train" if come >= needed else "wait"), come
    promoted = replace(now, champion_since=at(9), arrivals=arrivals(1, 2, 3, 4), evidence=[drift(4)])
    assert only(promoted).word == "train"  # with another champion everything is new


def test_a_failed_training_costs_no_back_off() -> None:
    """Batch 6 asked, after one refusal, and that training failed: the next batch asks again."""
    trainings = [training(3), training(4, 1, "refused"), training(6, **FAILED)]
    assert only(calm(1, 2, 3, 4, 5, 6, trainings=trainings, evidence=[drift(6)])).word == "wait"
    assert only(calm(1, 2, 3, 4, 5, 6, 7, trainings=trainings, evidence=[drift(6)])).word == "train"


def refused(measure: float, *batches: int, **more: Any) -> Situation:
    """Drift of batch 4 was trained for without promotion, twice; four new batches are needed."""
    event = asked(2, drift(4, 0.5), snapshot=45)
    trainings = [training(3), training(4, 1, "refused"), training(4, 3, "refused", event_id="e")]
    facts: dict[str, Any] = {"evidence": [drift(batches[-1], measure)], "events": [event], "trainings": trainings}
    return calm(1, 2, 3, 4, *batches, **{**facts, **more})


def test_the_same_cause_comes_through_early_only_when_it_is_clearly_worse() -> None:
    assert only(refused(0.59, 5)).word == "wait"
    assert only(refused(0.6, 5)).word == "train"
    assert only(refused(0.6, 5), cooldown_batches=2).word == "wait"  # never before the plain cool-down
    assert only(refused(0.5, 5, 6, 7, 8)).word == "train"  # the back-off has run out
    assert only(refused(0.9, 5, evidence=[drift(5, None)])).word == "wait"
    assert only(refused(0.9, 5, evidence=[drift(5, 0.9, trigger="decay")])).word == "wait"  # never trained for


def test_the_same_cause_comes_through_after_a_calm_batch() -> None:
    assert only(refused(0.5, 5, 6)).word == "wait"
    assert only(refused(0.5, 5, 6, calm={"drift": frozenset("5")})).word == "train"
    assert only(refused(0.5, 5, 6, calm={"decay": frozenset("5")})).word == "wait"
    assert only(refused(0.5, 5, 6, calm={"drift": frozenset("36")})).word == "wait"  # before it, or no return


def test_labelled_rows_that_the_last_training_did_not_have() -> None:
    few = calm(evidence=[drift(4)], labelled={"1": 100, "2": 100, "3": 100, "4": 99})
    assert "99 of 100 labelled rows that the last training did not have (retrain.min_rows)" in only(few).why
    late = replace(few, labelled={"1": 100, "2": 100, "3": 101, "4": 99})  # an outcome of batch 3 came later
    assert only(late).word == "train"
    fewer = replace(few, labelled={"1": 1, "2": 1, "3": 1, "4": 99})  # rows that went away do not count against it
    assert "99 of 100" in only(fewer).why
