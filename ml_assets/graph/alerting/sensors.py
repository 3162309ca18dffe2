"""The sensors that notify people, and the service that notices when nobody would."""

import datetime as dt
import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

import dagster as dg

from ml_assets import attention
from ml_assets.escaping import without_secrets
from ml_assets.graph import sensing, webhook
from ml_assets.graph.alerting import digest, sending
from ml_assets.graph.alerting.events import FILE_EVENTS, FailedRun, FailedStep, happened
from ml_assets.graph.alerting.sending import Notified
from ml_assets.graph.batches import WILL_RETRY
from ml_assets.graph.checks import is_failed_check
from ml_assets.graph.sensing import Found, Skip, Tick
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec
from ml_assets.spec.operation import AlertEvent
from ml_assets.tables import alerts
from ml_assets.tables.alerts import ALERTS, Alert
from ml_assets.tables.versions import now

INTERVAL_S = 10
LOCK_TIMEOUT_S = 5  # a long write of another run is not waited for: the next check writes
MOST_RUNS = 500
ENV_UI_URL = "ML_ASSETS_UI_URL"
ENV_HEARTBEAT_URL = "ML_ASSETS_HEARTBEAT_URL"
HEARTBEAT_S = 60
HEARTBEAT_TIMEOUT_S = 2.0  # the other sensors wait meanwhile


def alerts_sensor(spec: PipelineSpec, paths: Paths, jobs: Sequence[str]) -> dg.SensorDefinition:
    """Record what happened as alerts, and send them: here and nowhere else, so that no run ever waits for a receiver.

    The table says what is known and sent. What the sensor remembers only spares work: the newest snapshot that was
    read (`snapshot`), the last change of a failed run that was seen (`runs`), when a message is due (`next`), and
    states that the lake could not take at the last check (`unwritten`), the day of the last digest (`digest`). Without
    that and the table, this is the first check.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        jobs: Names of the pipeline's jobs.
    """

    def check(tick: Tick) -> Found:
        seen, moment = json.loads(tick.remembered() or "{}"), now()
        try:
            snapshot = tick.snapshot()
        except Skip as skip:
            return Found(reason=str(skip), memory=json.dumps({"runs": seen.get("runs") or moment.isoformat()}))
        runs, newest = _failed_runs(tick.instance, spec.name, jobs, seen.get("runs"))
        is_due = bool(seen.get("unwritten")) or (seen.get("next") or "9") <= moment.isoformat()
        is_due |= digest.is_due(spec.alerts.digest, moment, seen.get("digest"))
        if seen.get("snapshot") == snapshot and not runs and not is_due:
            raise Skip("nothing has happened since the last check")
        done = _notify(tick, runs, seen, moment)
        for alert in done.written:
            tick.context.log.info(f"{alert.state} {alert.event} {alert.subject}: {alert.detail or alert.text}")
        counts = Counter(alert.state for alert in done.written)
        memory = {
            "snapshot": snapshot,
            "runs": newest,
            "next": done.next_at and done.next_at.isoformat(),
            "unwritten": [asdict(alert) for alert in done.unwritten],
            "digest": moment.date().isoformat() if digest.is_due(spec.alerts.digest, moment, None) else None,
        }
        reason = ", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing new to notify of"
        return Found(reason=reason, memory=json.dumps(memory, default=str))

    description = (
        "Records failed runs, refused batches and versions, rejected files, drift, decay and new champions, and sends "
        "them to every channel of `alerts`."
    )
    return sensing.sensor(spec, paths, "alerts", check, description, INTERVAL_S)


def heartbeat_sensor() -> dg.SensorDefinition | None:
    """Call `ML_ASSETS_HEARTBEAT_URL` once a minute, so that a service outside notices when the daemon is down.

    None where the variable is not set: there is nothing to call. A service that does not answer is a line in the log of
    the tick, and the tick a skipped one like any other.
    """
    if not os.environ.get(ENV_HEARTBEAT_URL):
        return None

    @dg.sensor(
        name="ml_assets_heartbeat",
        minimum_interval_seconds=HEARTBEAT_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Calls the address in {ENV_HEARTBEAT_URL}: a service there notices when the daemon is down.",
    )
    def evaluate(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        address = os.environ.get(ENV_HEARTBEAT_URL, "")
        reply = webhook.ask(address, timeout_s=HEARTBEAT_TIMEOUT_S)
        detail = without_secrets(reply.detail, address)
        if reply.outcome != "ok":
            context.log.warning(f"the heartbeat was not accepted: {detail}")
        return dg.SkipReason(f"heartbeat: {detail}")

    return evaluate


def _notify(tick: Tick, runs: Sequence[FailedRun], seen: Mapping[str, Any], moment: dt.datetime) -> Notified:
    spec = tick.spec
    with tick.lake(LOCK_TIMEOUT_S) as lake:
        found = happened(lake, spec.name, runs)
        if digest.is_due(spec.alerts.digest, moment, seen.get("digest")):
            found.append(digest.digest(spec.name, attention.needs(lake, spec.name, tick.paths), moment.date()))
        cleaned = [replace(alert, text=_without_addresses(alert.text, spec)) for alert in found]
        carried = [_alert(row) for row in seen.get("unwritten", [])]
        return sending.notify(lake, spec.name, spec.alerts, cleaned, moment, _unwatched(lake, spec.name, seen), carried)


def _without_addresses(text: str, spec: PipelineSpec) -> str:
    for channel in spec.alerts.channels:
        text = text.replace(channel.address, f"({channel.name})") if channel.address else text
    return without_secrets(text, spec.alerts.webhook, spec.deploy.webhook)


def _unwatched(lake: Lake, pipeline: str, seen: Mapping[str, Any]) -> Collection[str]:
    """Events that no check before this one has looked for."""
    if alerts.is_of_first_format(lake, pipeline):
        return FILE_EVENTS
    return () if seen or lake.exists(ALERTS.of(pipeline)) else get_args(AlertEvent)


def _failed_runs(
    instance: dg.DagsterInstance, pipeline: str, jobs: Sequence[str], after: str | None
) -> tuple[list[FailedRun], str | None]:
    """The pipeline's runs that failed for good since then, and the last change of any failed run.

    Dagster says only after a run's failure whether it will retry it; saying it changes the run, so it is seen again.
    """
    since = dt.datetime.fromisoformat(after).replace(tzinfo=dt.UTC) if after else None
    records = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since),
        limit=MOST_RUNS,
        order_by="update_timestamp",
    )
    found = []
    for record in records:
        run = record.dagster_run
        touched = {key.path[0] for key in run.asset_selection or ()}
        is_ours = run.tags.get("ml_assets/pipeline") == pipeline or run.job_name in jobs or pipeline in touched
        undecided = "true" if instance.run_retries_enabled else "false"
        if is_ours and run.tags.get(WILL_RETRY, undecided) != "true":
            found.append(_failed_run(instance, run))
    changes = [record.update_timestamp.astimezone(dt.UTC).replace(tzinfo=None).isoformat() for record in records]
    return found, max([*changes, *([after] if after else [])], default=now().isoformat())


def _failed_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> FailedRun:
    failed = []
    for record in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = record.dagster_event
        if event is None:
            continue
        data = event.step_failure_data
        described = data.user_failure_data.description if data.user_failure_data else None
        error = data.error
        cause = error.cause if error and error.cause else error
        text = described or (cause.message.strip() if cause else "no error is known")
        step = (event.step_key or "").partition("__")[2] or str(event.step_key)
        failed.append(FailedStep(step, text, is_failed_check(error)))
    what = run.job_name
    if what.startswith("__"):  # assets that somebody materialized by hand
        what = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or what
    base = os.environ.get(ENV_UI_URL)
    return FailedRun(run.run_id, what, failed, f"{base.rstrip('/')}/runs/{run.run_id}" if base else None)


def _alert(row: dict[str, object]) -> Alert:
    """A state out of the memory."""
    moments = {name: dt.datetime.fromisoformat(str(row[name])) for name in ("raised_at", "written_at")}
    return Alert(**{**row, **moments})  # type: ignore[arg-type]
