"""Dagster's run launcher, which also knows whether the process of a run still lives.

Dagster's own asks the code server, so a run that was lost together with it stays started for ever. The daemon's run
monitoring asks this one every few seconds, for runs of a terminal too. `dagster.yaml` names the class; the one whose
runs are on a Ray cluster is in ray_launcher.py.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import dagster as dg
import psutil
from dagster._core.events import DagsterEvent
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, RunLauncher, WorkerStatus
from dagster._core.storage.tags import HIDDEN_TAG_PREFIX, MAX_RETRIES_TAG, WILL_RETRY_TAG

from ml_assets import run_locks
from ml_assets.dagster_connections import kept_open, server_of
from ml_assets.dagster_records import heartbeat
from ml_assets.errors import LakeError
from ml_assets.liveness import ENV_SOCKETS, Worker, boot_id, holding, is_held, listens, lock_file

TAG = f"{HIDDEN_TAG_PREFIX}ml_assets_process"  # Dagster does not show it
# A live run holds no lock between the end of its last step and the word that it has ended. And the daemon needs some
# seconds to see that a code server is back: what it would retry before that is lost.
GRACE_S = 20
AWAY_S = 120  # of another machine, whose connection to Dagster's database may be lost for a while
UNMARKED_S = 86_400  # a run that no process has marked may be of another machine
STARTED = [dg.DagsterRunStatus.STARTED]


class FindsLostRuns(RunLauncher):
    """Finds the runs whose process is gone; how a run is launched says a class beside it."""

    supports_check_run_worker_health = True
    supports_resume_run = False

    def lost(self, run: dg.DagsterRun) -> str | None:
        """What happened to a started run whose process is gone; None where it lives, or may."""
        return lost(self._instance, run)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Gone is what is found gone for `GRACE_S` seconds, with code servers that could retry it."""
        why = self.lost(run)
        since = self.__dict__.setdefault("_gone_since", {})
        if why is None or not are_served():
            since.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        now = time.monotonic()
        if now - since.setdefault(run.run_id, now) < self.grace_s(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING, "it may just be ending")
        return CheckRunHealthResult(WorkerStatus.FAILED, self._fail(run, why))

    def grace_s(self, run: dg.DagsterRun) -> float:
        """How long a run has to be found gone."""
        worker = worker_of(run)
        return GRACE_S if worker is None or worker.is_in_sight(home(self._instance)) else AWAY_S

    def _fail(self, run: dg.DagsterRun, why: str) -> str:
        """Mark a run as failed, and say what follows.

        Its status is written before the event: the daemon's retries read an event once, and where they find the run
        still started they never retry it.
        """
        instance, failed = self._instance, run.with_status(dg.DagsterRunStatus.FAILURE)
        if run.remote_job_origin is None:  # of a terminal: Dagster would announce a retry, and make none
            instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})
            again, text = False, f"{why} Nothing retries it: run the command again."
        else:
            again = auto_reexecution_should_retry_run(instance, failed, None)
            text = f"{why} {'Dagster retries the run.' if again else 'It is not retried again: launch it by hand.'}"
        event = DagsterEvent(dg.DagsterEventType.RUN_FAILURE.value, run.job_name, message=text)
        instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: str(again).lower()})
        instance.run_storage.handle_run_event(run.run_id, event, dt.datetime.now(dt.UTC))
        instance.report_run_failed(run, text)
        return text


class LockingRunLauncher(FindsLostRuns, DefaultRunLauncher):
    """Launches runs as Dagster does, and finds those whose process is gone."""


def open_instance(home: Path) -> dg.DagsterInstance:
    """Dagster's instance of a home.

    Raises:
        SpecError: Its dagster.yaml cannot be read, or names a variable that is not set.
        LakeBusy: Its database cannot be reached.
    """
    heartbeat(home)  # Dagster would answer each of these with a traceback
    return dg.DagsterInstance.from_config(str(home))


def are_served() -> bool:
    """Do all code servers of `ml-assets ui` listen?"""
    return all(map(listens, filter(None, os.environ.get(ENV_SOCKETS, "").split(os.pathsep))))


@contextlib.contextmanager
def at_work(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold the locks of a run in this process, mark the run with it, and keep Dagster's records at hand."""
    folder = home(instance)
    with holding(folder, run_id) as worker, run_locks.holding(server_of(instance), run_id) as has_server:
        mark(instance, replace(worker, has_server=has_server))
        with kept_open(instance):
            yield


def mark(instance: dg.DagsterInstance, worker: Worker) -> None:
    """Keep with a run which process works on it."""
    instance.add_run_tags(worker.run_id, {TAG: as_tag(worker)})


def as_tag(worker: Worker) -> str:
    """What `worker_of` reads."""
    return json.dumps(asdict(worker))


def lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """What happened to a started run whose process is gone; None where it lives, or may."""
    worker = worker_of(run)
    if worker is None:
        return _lost_unmarked(instance, run)
    if not worker.is_in_sight(home(instance)):
        return _gone(worker) if _is_lost_elsewhere(instance, run, worker) else None
    if is_held(home(instance), run.run_id):
        return None
    others = pids(instance, run) - {worker.pid}  # of an executor with a process for each step: the one above them
    if not lock_file(home(instance), run.run_id).exists():  # somebody has removed it
        others.add(worker.pid)
    if any(map(psutil.pid_exists, others)) and worker.boot == boot_id():
        return None
    return _gone(worker)


def is_at_work(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Is a process known to hold a lock of the run? Also where the server that would know is away."""
    worker = worker_of(run)
    if worker is None:
        return False
    if worker.is_in_sight(home(instance)):
        return is_held(home(instance), run.run_id)
    address = server_of(instance)
    try:
        return worker.has_server and address is not None and run_locks.is_held(address, run.run_id)
    except LakeError:
        return True


def lost_runs(instance: dg.DagsterInstance) -> list[tuple[dg.DagsterRun, str]]:
    """Started runs whose process is gone, and what happened."""
    found = [(run, lost(instance, run)) for run in instance.get_runs(dg.RunsFilter(statuses=STARTED))]
    return [(run, why) for run, why in found if why is not None]


def worker_of(run: dg.DagsterRun) -> Worker | None:
    """The process that marked a run."""
    try:
        worker = Worker(**json.loads(run.tags.get(TAG, "")))
    except (TypeError, ValueError):
        return None
    return worker if worker.run_id == run.run_id else None


def home(instance: dg.DagsterInstance) -> Path:
    """Folder of the instance."""
    return Path(instance.root_directory)


def pids(instance: dg.DagsterInstance, run: dg.DagsterRun) -> set[int]:
    """Process ids that Dagster has written to the log of a run."""
    return {pid for pid, _ in _processes(instance, run)}


def _processes(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterable[tuple[int, float]]:
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        said = entry.dagster_event.event_specific_data if entry.dagster_event else None
        value = getattr(said, "metadata", {}).get("pid")
        if value is not None and str(value.value).isdigit():
            yield int(str(value.value)), entry.timestamp


def _gone(worker: Worker) -> str:
    return (
        f"Its process {worker.pid} on {worker.host} is gone and has said nothing: "
        "killed, out of memory, or the machine went down."
    )


def _is_lost_elsewhere(instance: dg.DagsterInstance, run: dg.DagsterRun, worker: Worker) -> bool:
    """Has a run lost its lock at Dagster's database? Processes of a step each do not have it between two steps."""
    address = server_of(instance)
    if not worker.has_server or address is None or pids(instance, run) - {worker.pid}:
        return False
    try:
        return not run_locks.is_held(address, run.run_id)
    except LakeError:  # the server is away: nothing is known
        return False


def _lost_unmarked(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """A run of an earlier version, or one without a step of ours."""
    known = list(_processes(instance, run))
    if not known or time.time() - max(moment for _, moment in known) < UNMARKED_S:
        return None
    if any(psutil.pid_exists(pid) for pid, _ in known):
        return None
    return f"Its process {known[0][0]} is gone since a day or more and has said nothing."
