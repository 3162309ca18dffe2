"""The sensor and the schedule that start trainings. Both apply the same rules and leave the same rows."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from ml_assets.graph import sensing
from ml_assets.graph.batches import UNFINISHED, WILL_RETRY
from ml_assets.graph.retraining import observed
from ml_assets.graph.retraining.observed import UnderWay
from ml_assets.graph.retraining.rules import TrainingDecision, decide
from ml_assets.graph.retraining.situation import Situation, TrainingReason
from ml_assets.graph.retraining.triggers import Cron, Report
from ml_assets.graph.sensing import Found, Tick
from ml_assets.lake.lake import Commit
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec
from ml_assets.tables import retrain_events
from ml_assets.tables.retrain_events import EVENT_TAG, Event
from ml_assets.tables.training_sets import TRAINING_SETS

# Dagster gives a tick 60 s; a lake that is locked for longer is tried again at the next one.
LOCK_S = 15
PARENT = "dagster/parent_run_id"
RETRIED_WITHIN = dt.timedelta(minutes=10)


@dataclass(frozen=True)
class Decided:
    """What one check of the pipeline led to.

    Args:
        request: The run to start.
        why: What a person reads where there is none.
        snapshot: Our own write, where nothing else was written since the lake was read; else 0.
        judged: Has the evidence been judged? Not where an earlier decision had to be carried out first.
    """

    request: dg.RunRequest | None
    why: str = ""
    snapshot: int = 0
    judged: bool = True


def retrain_sensor(spec: PipelineSpec, paths: Paths, job: str) -> dg.SensorDefinition:
    """Start a training where the evidence calls for one, and record in `retrain_events` why, or why not.

    It remembers what it has judged (the lake's newest snapshot, the trainings under way, the YAML's rules, the files
    of other jobs' reports), so that a check of an unchanged pipeline opens nothing.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        job: The training job.
    """
    rules = sensing.short_hash([spec.retrain.model_dump(), spec.split.model_dump(), spec.target.sql])

    def check(tick: Tick) -> Found:
        before = json.loads(tick.remembered() or "{}")
        snapshot = tick.snapshot()
        reports, stamps = _new_reports(tick, before.get("reports", {}))
        under_way = _under_way(tick.instance, spec, job)
        # A trigger may count days, which no write announces.
        day = dt.datetime.now(dt.UTC).date().isoformat()
        seen = {"snapshot": snapshot, "runs": sorted(under_way), "rules": rules, "day": day}
        if not reports and {name: before.get(name) for name in seen} == seen:
            return Found(reason="nothing has changed since the last check")
        decided = _decide(tick.instance, spec, paths, f"sensor {spec.name}_retrain", reports, under_way)
        seen["snapshot"] = max(snapshot, decided.snapshot)
        memory = json.dumps({**seen, "reports": stamps}) if decided.judged else None
        return Found([decided.request] if decided.request else [], decided.why, memory)

    description = "Decides when to retrain: the first time, then by the rules under `retrain`."
    return sensing.sensor(spec, paths, "retrain", check, description, job_name=job)


def retrain_schedule(spec: PipelineSpec, paths: Paths, job: str) -> list[dg.ScheduleDefinition]:
    """The schedule of `retrain.cron`, if there is one; what it may not start now, the sensor starts later."""
    if spec.retrain.cron is None:
        return []
    name = f"{spec.name}_retrain_cron"

    def check(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        sensing.snapshot_of(paths, spec)
        evidence = [Cron.evidence(context.scheduled_execution_time)]
        under_way = _under_way(context.instance, spec, job)
        decided = _decide(context.instance, spec, paths, f"schedule {name}", evidence, under_way)
        return decided.request or dg.SkipReason(decided.why)

    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=spec.retrain.cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Requests a training at the times of `retrain.cron`; the rules under `retrain` decide.",
    )
    def cron(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return sensing.or_skipped(lambda: check(context))

    return [cron]


def decide_now(instance: dg.DagsterInstance, spec: PipelineSpec, paths: Paths, triggered_by: str) -> Decided:
    """Decide about a training as the sensor would, for somebody who starts the run that is requested."""
    return _decide(instance, spec, paths, triggered_by, [], _under_way(instance, spec, f"{spec.name}_train"))


def _decide(
    instance: dg.DagsterInstance,
    spec: PipelineSpec,
    paths: Paths,
    triggered_by: str,
    handed_in: Sequence[TrainingReason],
    under_way: Mapping[str, UnderWay],
) -> Decided:
    """Read the lake, decide, write what is new of the decision, and only then request the run.

    One at a time: sensor and schedule may come at the same moment.
    """
    with paths.catalog.lock(f"{spec.name}.retrain", LOCK_S, "deciding about a training"):
        with sensing.lake_of(paths) as lake:
            snapshot = lake.snapshot()
            situation = observed.read_situation(lake, spec, handed_in, under_way)
        lost = _lost(instance, situation, triggered_by)
        if lost is not None:
            return Decided(_request(lost), judged=False)
        decisions = decide(spec.retrain, observed.needed_batches(spec), situation)
        events = [one.as_event(situation.champion, snapshot, triggered_by) for one in decisions if not one.is_recorded]
        written = _write(spec, paths, events, triggered_by) if events else 0
    request = next((_request(event) for event in events if event.decision == "train"), None)
    # With another write in between, the next tick must check again.
    return Decided(request, _why(spec, decisions), written if written == snapshot + 1 else 0)


def _write(spec: PipelineSpec, paths: Paths, events: Sequence[Event], triggered_by: str) -> int:
    with sensing.lake_of(paths, lock_timeout_s=LOCK_S) as lake:
        commit = Commit(retrain_events.RETRAIN_EVENTS.asset(spec.name), triggered_by=triggered_by)
        return retrain_events.record(lake, spec.name, events, commit).snapshot_id


def _lost(instance: dg.DagsterInstance, situation: Situation, triggered_by: str) -> Event | None:
    """The newest decision for a training, where the daemon ended before it requested the run.

    Only whoever decided requests it again, with the same key: Dagster knows the keys of one sensor or schedule.
    """
    last = situation.last
    event = next((one for one in reversed(situation.events) if one.decision == "train"), None)
    if event is None or last is None or last.event_id != event.event_id or last.state != "failed":
        return None
    if event.run_id is not None or event.triggered_by != triggered_by:
        return None
    return None if instance.get_runs(dg.RunsFilter(tags={EVENT_TAG: event.event_id}), limit=1) else event


def _request(event: Event) -> dg.RunRequest:
    return dg.RunRequest(run_key=event.run_key, tags=event.tags())


def _why(spec: PipelineSpec, decisions: Sequence[TrainingDecision]) -> str:
    if decisions:
        return "; ".join(f"{one.word}: {one.why}" for one in decisions)
    return "nothing triggers a training" if spec.retrain.on else "retrain.on is empty: trainings are started by hand"


def _new_reports(tick: Tick, stamps: dict[str, object]) -> tuple[list[TrainingReason], dict[str, object]]:
    """Evidence in the reports that have come since, and the stamps of all that were ever read.

    A report that waits for its training lives on in the row that says so.
    """
    folder = tick.spec.monitoring.reports
    return ([], {}) if folder is None else Report.scan(tick.paths.root / Path(folder), stamps)


def _under_way(instance: dg.DagsterInstance, spec: PipelineSpec, job: str) -> dict[str, UnderWay]:
    """Trainings of the pipeline that are queued or running, or failed and about to be retried, by run."""
    runs = [run for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)) if _trains(run, spec, job)]
    # Dagster makes the retry within seconds; one that it could not make then, it makes never.
    since = dt.datetime.now(dt.UTC) - RETRIED_WITHIN
    failed = [dg.DagsterRunStatus.FAILURE]
    again = dg.RunsFilter(job_name=job, statuses=failed, tags={WILL_RETRY: "true"}, updated_after=since)
    for run in instance.get_runs(again, limit=1):
        if not instance.get_runs(dg.RunsFilter(tags={PARENT: run.run_id}), limit=1):
            runs.append(run)
    return {
        run.run_id: UnderWay(f"the training of run {run.run_id} is under way", run.tags.get(EVENT_TAG)) for run in runs
    }


def _trains(run: dg.DagsterRun, spec: PipelineSpec, job: str) -> bool:
    """A run by hand has another job, but a selection."""
    return run.job_name == job or dg.AssetKey([spec.name, TRAINING_SETS.name]) in (run.asset_selection or ())
