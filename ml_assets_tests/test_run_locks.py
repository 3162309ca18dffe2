"""A run on a machine that is out of sight is lost when its lock at Dagster's database is free, and not before."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test

from ml_assets import launcher, run_locks
from ml_assets.errors import LakeError
from ml_assets.launcher import LockingRunLauncher
from ml_assets.liveness import Worker
from ml_assets_tests import postgres
from ml_assets_tests.conftest import wait_until
from ml_assets_tests.test_launcher import SETTINGS, current

HOLD = """
import sys
from ml_assets import run_locks
run_locks.CHECK_S = 0.2
with run_locks.holding(*sys.argv[1:]) as is_held:
    print(is_held, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.server() as made:
        yield made


@contextlib.contextmanager
def held(address: str, run_id: str) -> Iterator[subprocess.Popen[str]]:
    """The lock of a run, held by a process of its own."""
    command, pipe = [sys.executable, "-c", HOLD, address, run_id], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "True\n"
            yield process
        finally:
            process.kill()


def test_it_is_held_through_a_crash_of_the_server_until_its_process_is_gone(server: postgres.Server) -> None:
    address = server.database()
    with held(address, "a") as process, held(address, "b"):
        assert run_locks.is_held(address, "a")
        server.stop(signal.SIGQUIT)
        server.start()
        wait_until(lambda: run_locks.is_held(address, "a"), 30, "the lock that is taken again", 0.1)
        process.kill()
        process.wait()
        wait_until(lambda: not run_locks.is_held(address, "a"), 30, "the lock that the server frees", 0.1)
        wait_until(lambda: run_locks.is_held(address, "b"), 30, "the lock of another run", 0.1)


def test_the_driver_of_postgresql_is_needed_only_with_such_a_database() -> None:
    """It comes with an extra, and launcher.py is imported by every project."""
    command = "import sys; from ml_assets import run_locks; print('psycopg2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_a_server_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_locks, "TAKE_S", 0.1)
    monkeypatch.setattr(run_locks, "CHECK_S", 0.1)
    for address in (None, "postgresql://u@127.0.0.1:1/d"):
        with run_locks.holding(address, "a") as is_held:
            assert not is_held


def test_a_run_of_a_lost_machine_fails_once_its_lock_is_free(
    server: postgres.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server.database()
    monkeypatch.setattr(launcher, "server_of", lambda _: address)
    with dg.instance_for_test(overrides=SETTINGS, temp_dir=str(tmp_path)) as instance:
        assert isinstance(instance.run_launcher, LockingRunLauncher)
        run = create_run_for_test(instance, job_name="parcels_ingest", status=dg.DagsterRunStatus.STARTED)
        with launcher.at_work(instance, run.run_id):
            worker = Worker(**json.loads(current(instance, run).tags[launcher.TAG]))
        assert (worker.has_server, worker.pid) == (True, os.getpid())

        def found() -> list[str]:
            return [why for _, why in launcher.lost_runs(instance)]

        def check() -> WorkerStatus:
            return instance.run_launcher.check_run_worker_health(current(instance, run)).status

        away = replace(worker, host="pier-7", boot="b0", locks="theirs", pid=77)
        with held(address, run.run_id) as process:
            for one in (replace(away, has_server=False), away):
                instance.add_run_tags(run.run_id, {launcher.TAG: launcher.as_tag(one)})
                assert found() == []
            process.kill()
            process.wait()
            wait_until(lambda: bool(found()), 30, "a lock that is free", 0.1)
        assert found() == [launcher._gone(away)]
        assert check() is WorkerStatus.RUNNING  # its connection may be lost for a while
        monkeypatch.setattr(launcher, "GRACE_S", 0)
        assert check() is WorkerStatus.RUNNING
        monkeypatch.setattr(run_locks, "is_held", nothing_known)
        assert found() == []
        monkeypatch.undo()
        monkeypatch.setattr(launcher, "server_of", lambda _: address)
        monkeypatch.setattr(launcher, "AWAY_S", 0)
        assert check() is WorkerStatus.FAILED
        assert current(instance, run).status is dg.DagsterRunStatus.FAILURE
        steps = create_run_for_test(instance, job_name="parcels_ingest", status=dg.DagsterRunStatus.STARTED)
        instance.add_run_tags(steps.run_id, {launcher.TAG: launcher.as_tag(replace(away, run_id=steps.run_id))})
        assert len(found()) == 1
        instance.report_engine_event("Executing steps", steps, EngineEventData.in_process(78))
        assert found() == []  # of a process for each step, none holds the lock between two


def nothing_known(*_: str) -> bool:
    raise LakeError("Dagster's database cannot be reached.")
