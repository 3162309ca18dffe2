"""Dagster's instance: its home, the daemon, the sensors, the runs."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, SensorInstigatorData, TickStatus

from ml_assets import attention
from ml_assets.dagster_records import database, heartbeat
from ml_assets.doctor.finding import Finding, ok, problem, warning
from ml_assets.escaping import one_line, without_secrets
from ml_assets.home import check_home, home_of
from ml_assets.lake.paths import Paths
from ml_assets.launcher import lost_runs, open_instance
from ml_assets.tables.versions import now

START = "ml-assets ui"
LATE_S = 120  # beyond a sensor's own interval
QUEUED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
STUCK = {"waits": dt.timedelta(minutes=15), "runs": dt.timedelta(hours=24)}
RECENT = dt.timedelta(days=1)
MOST = 200


def is_daemon_up(home: Path) -> bool:
    """Has the daemon said within two minutes that it lives?"""
    return heartbeat(home) is not None and not attention.of_installation(home)


def instance(paths: Paths, sensors: Mapping[str, int]) -> Iterator[Finding]:
    """Everything that the instance tells.

    Args:
        paths: Folders of the project.
        sensors: Those that there should be -> their least seconds between two ticks.
    """
    home = home_of(paths)
    if not (home / "dagster.yaml").exists():
        yield warning("home", f"there is no Dagster home in {home}", "ml-assets home")
        return
    check_home(home, paths.root)
    yield ok("home", f"{home}, records {'in files' if database(home) is None else 'on PostgreSQL'}")
    yield _daemon(home)
    with open_instance(home) as opened:
        yield from _daemon_errors(opened)
        yield from _sensors(opened, sensors, is_daemon_up(home))
        yield from _runs(opened, is_daemon_up(home))


def _daemon(home: Path) -> Finding:
    beat = heartbeat(home)
    if beat is None:
        return warning("daemon", "it has never run: nothing happens by itself", START)
    ago = (now() - beat).total_seconds()
    if is_daemon_up(home):
        return ok("daemon", f"its last heartbeat was {max(0, ago):.0f} s ago")
    return problem("daemon", f"it is down since {beat:%Y-%m-%d %H:%M} UTC: no file is ingested, no alert sent", START)


def _daemon_errors(opened: dg.DagsterInstance) -> Iterator[Finding]:
    for kind, beat in opened.get_daemon_heartbeats().items():
        recent = time.time() - beat.timestamp < attention.HEARTBEAT_S
        if recent and beat.errors:
            yield warning(
                "daemon", f"{kind} fails: {_line(beat.errors[0].message)}", "read the output of `ml-assets ui`"
            )


def _sensors(opened: dg.DagsterInstance, expected: Mapping[str, int], is_up: bool) -> Iterator[Finding]:
    states = {state.instigator_name: state for state in opened.all_instigator_state()}
    well = 0
    for name, interval in expected.items():
        found = _sensor(opened, states.get(name), name, interval, is_up)
        well += found is None
        if found is not None:
            yield found
    if expected:
        yield ok(
            "sensors", f"{well} of {len(expected)} are well" if is_up else f"{len(expected)}, which the daemon runs"
        )


def _sensor(
    opened: dg.DagsterInstance, state: InstigatorState | None, name: str, interval: int, is_up: bool
) -> Finding | None:
    if state is None:
        return warning("sensors", f"{name} has never ticked", f"dagster sensor start {name}") if is_up else None
    if not state.is_running:
        return warning("sensors", f"{name} is stopped", f"dagster sensor start {name}")
    ticks = opened.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    if ticks and ticks[0].status == TickStatus.FAILURE:
        error = ticks[0].error
        text = _line(error.message) if error else "no error is known"
        return problem("sensors", f"the last tick of {name} failed: {text}", f"dagster sensor preview {name}")
    last = (
        state.instigator_data.last_tick_timestamp if isinstance(state.instigator_data, SensorInstigatorData) else None
    )
    late = time.time() - last - interval if last else 0
    if is_up and late > LATE_S:
        return warning("sensors", f"{name} is late by {late:.0f} s", "restart `ml-assets ui`")
    return None


def _runs(opened: dg.DagsterInstance, is_up: bool) -> Iterator[Finding]:
    moment, found = now(), []
    for run, why in lost_runs(opened):
        fix = START if not is_up else "wait half a minute: the daemon marks it as failed"
        found.append(problem("runs", f"{run.run_id} of {run.job_name} is lost: {_line(why)}", fix))
    for word, statuses in (("waits", QUEUED), ("runs", [dg.DagsterRunStatus.STARTED])):
        for record in opened.get_run_records(dg.RunsFilter(statuses=statuses), limit=MOST):
            since = record.create_timestamp.astimezone(dt.UTC).replace(tzinfo=None)
            if moment - since > STUCK[word]:
                name = f"{record.dagster_run.run_id} of {record.dagster_run.job_name}"
                fix = (
                    START
                    if word == "waits" and not is_up
                    else f"look at it in Dagster: /runs/{record.dagster_run.run_id}"
                )
                found.append(warning("runs", f"{name} {word} since {since:%Y-%m-%d %H:%M} UTC", fix))
    failed = opened.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=(moment - RECENT).replace(tzinfo=dt.UTC)),
        limit=MOST,
    )
    if failed:
        newest = failed[0].dagster_run
        text = f"{len(failed)} failed within a day, the newest {newest.run_id} of {newest.job_name}"
        found.append(warning("runs", text, f"read its error in Dagster: /runs/{newest.run_id}"))
    yield from found or [ok("runs", "none is lost, stuck or has failed within a day")]


def _line(text: str) -> str:
    return without_secrets(one_line(text.strip().partition("\n")[0]))[:300]
