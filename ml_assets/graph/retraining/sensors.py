"""The sensor and the schedule that start trainings. Both ask the same decision and leave the same rows."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from ml_assets.errors import MLAssetsError, SourceError
from ml_assets.graph.batches import UNFINISHED, WILL_RETRY
from ml_assets.graph.retraining import facts
from ml_assets.graph.retraining.decision import Decision, Evidence, Situation, decide
from ml_assets.graph.retraining.facts import UnderWay
from ml_assets.graph.sensor_memory import Memory
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.sources import evidently_reports
from ml_assets.spec import PipelineSpec
from ml_assets.tables import retrain_events
from ml_assets.tables.retrain_events import EVENT_TAG, Event

INTERVAL_S = 5
# Dagster gives a tick 60 s; a lake that is locked for longer is asked again at the next one.
LOCK_S = 15
PARENT = "dagster/parent_run_id"
RETRIED_WITHIN = dt.timedelta(minutes=10)
BUSY = (MLAssetsError, duckdb.Error)


@dataclass(frozen=True)
class Look:
    """What one look at the pipeline led to.

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
    """Start a training where the evidence asks for one, and say in `retrain_events` why, or why not.

    Its cursor is what it has judged (the lake's newest snapshot, the trainings under way, the YAML's rules, the files
    of other jobs' reports), so that a look at an unchanged pipeline opens nothing.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        job: The training job.
    """
    name = f"{spec.name}_retrain"
    memory = Memory(paths.sensors / name)
    rules = _hash([spec.retrain.model_dump(), spec.split.model_dump(), spec.target.sql])

    @dg.sensor(
        name=name,
        job_name=job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"The one place that starts {job} without a person: the first time, and as `retrain` says.",
    )
    def retrain(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        cursor = json.loads(memory.read(context.cursor) or "{}")
        try:
            snapshot = paths.catalog.newest_snapshot(spec.name)
            if snapshot is None:
                return dg.SkipReason("nothing has been ingested yet")
            reports, stamps = _new_reports(spec, paths, cursor.get("reports", {}))
            under_way = _under_way(context.instance, spec, job)
            seen = {"snapshot": snapshot, "runs": sorted(under_way), "rules": rules}
            if not reports and {name: cursor.get(name) for name in seen} == seen:
                return dg.SkipReason("nothing has changed since the last look")
            look = _look(context.instance, spec, paths, f"sensor {name}", reports, under_way)
        except BUSY as error:
            return dg.SkipReason(f"looks again at the next tick: {error}")
        seen["snapshot"] = max(snapshot, look.snapshot)
        return dg.SensorResult(
            run_requests=[look.request] if look.request else [],
            skip_reason=None if look.request else dg.SkipReason(look.why),
            cursor=memory.write(json.dumps({**seen, "reports": stamps}), context.cursor)
            if look.judged
            else context.cursor,
        )

    return retrain


def retrain_schedule(spec: PipelineSpec, paths: Paths, job: str) -> list[dg.ScheduleDefinition]:
    """The schedule of `retrain.cron`, if there is one; what it may not start now, the sensor starts later."""
    if spec.retrain.cron is None:
        return []
    name = f"{spec.name}_retrain_cron"

    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=spec.retrain.cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Asks for a training; it goes through the same decision as drift and decay.",
    )
    def cron(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        asked = [facts.of_cron(context.scheduled_execution_time)]
        try:
            if paths.catalog.newest_snapshot(spec.name) is None:
                return dg.SkipReason("nothing has been ingested yet")
            under_way = _under_way(context.instance, spec, job)
            look = _look(context.instance, spec, paths, f"schedule {name}", asked, under_way)
        except BUSY as error:
            return dg.SkipReason(str(error))
        return look.request or dg.SkipReason(look.why)

    return [cron]


def _look(
    instance: dg.DagsterInstance,
    spec: PipelineSpec,
    paths: Paths,
    triggered_by: str,
    asked: Sequence[Evidence],
    under_way: Mapping[str, UnderWay],
) -> Look:
    """Read the lake, decide, write what is new of the decision, and only then ask for the run.

    One look at a time: sensor and schedule may come at the same moment.
    """
    with paths.catalog.lock(f"{spec.name}.retrain", LOCK_S, "deciding about a training"):
        with Lake(paths.lake, read_only=True) as lake:
            snapshot = lake.snapshot()
            situation = facts.read_situation(lake, spec, asked, under_way)
        lost = _lost(instance, situation, triggered_by)
        if lost is not None:
            return Look(_request(lost), judged=False)
        decisions = decide(spec.retrain, facts.needed_batches(spec), situation)
        events = [one.as_event(situation.champion, snapshot, triggered_by) for one in decisions if not one.told]
        written = _write(spec, paths, events, triggered_by) if events else 0
    request = next((_request(event) for event in events if event.decision == "train"), None)
    # With another write in between, the next tick must look again.
    return Look(request, _why(spec, decisions), written if written == snapshot + 1 else 0)


def _write(spec: PipelineSpec, paths: Paths, events: Sequence[Event], triggered_by: str) -> int:
    with Lake(paths.lake, lock_timeout_s=LOCK_S) as lake:
        commit = Commit(retrain_events.RETRAIN_EVENTS.asset(spec.name), triggered_by=triggered_by)
        return retrain_events.record(lake, spec.name, events, commit).snapshot_id


def _lost(instance: dg.DagsterInstance, situation: Situation, triggered_by: str) -> Event | None:
    """The newest decision for a training, where the daemon ended before it asked for the run.

    Only whoever decided asks again, with the same key: Dagster knows the keys of one sensor or schedule.
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


def _why(spec: PipelineSpec, decisions: Sequence[Decision]) -> str:
    if decisions:
        return "; ".join(f"{one.word}: {one.why}" for one in decisions)
    return "nothing asks for a training" if spec.retrain.on else "retrain.on is empty: trainings are started by hand"


def _new_reports(spec: PipelineSpec, paths: Paths, stamps: dict[str, Any]) -> tuple[list[Evidence], dict[str, Any]]:
    """Evidence in the reports that have come since, and the stamps of all reports that were ever read.

    A report that waits for its training lives on in the row that says so.
    """
    if spec.monitoring.reports is None:
        return [], {}
    folder = paths.root / Path(spec.monitoring.reports)
    try:
        found = evidently_reports.scan(folder, stamps)
    except SourceError as error:
        if str(folder) in stamps:
            return [], stamps
        text = str(error)
        return [Evidence("report", f"report {folder}", text, error=True)], {**stamps, str(folder): [0, 0, ""]}
    there = {name: stamp for name, stamp in stamps.items() if name != str(folder)}
    return facts.of_reports(found), there | {report.file: list(report.stamp) for report in found}


def _under_way(instance: dg.DagsterInstance, spec: PipelineSpec, job: str) -> dict[str, UnderWay]:
    """Trainings of the pipeline that are queued or running, or failed and about to be tried again, by run."""
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
    return run.job_name == job or dg.AssetKey([spec.name, "training_set"]) in (run.asset_selection or ())


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
