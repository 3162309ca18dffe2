"""A run whose process was killed is found by the lock that its kernel freed; a run that lives never is."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test

from ml_assets import launcher, liveness
from ml_assets.errors import MLAssetsError
from ml_assets.launcher import LockingRunLauncher
from ml_assets.liveness import Worker

SETTINGS = {
    "run_launcher": {"module": "ml_assets.launcher", "class": "LockingRunLauncher"},
    "run_monitoring": {"enabled": True},
    "run_retries": {"enabled": True, "max_retries": 1},
}
HOLD = """
import sys
from pathlib import Path
from ml_assets.liveness import holding
with holding(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""
Start = Callable[[], tuple[dg.DagsterRun, subprocess.Popen[str]]]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(overrides=SETTINGS, temp_dir=str(tmp_path)) as made:
        yield made


@pytest.fixture
def start(instance: dg.DagsterInstance) -> Iterator[Start]:
    """Start a run in a process of its own, as `dagster asset materialize` does."""
    with contextlib.ExitStack() as stack:

        def started() -> tuple[dg.DagsterRun, subprocess.Popen[str]]:
            run = create_run_for_test(instance, job_name="parcels_ingest", status=dg.DagsterRunStatus.STARTED)
            command = [sys.executable, "-c", HOLD, str(launcher.home(instance)), run.run_id]
            pipe = subprocess.PIPE
            process = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            launcher.mark(instance, replace(Worker.here(run.run_id, launcher.home(instance)), pid=process.pid))
            return current(instance, run), process

        yield started


def current(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def test_a_killed_run_fails_with_a_text_and_a_live_one_goes_on(
    instance: dg.DagsterInstance, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert isinstance(instance.run_launcher, LockingRunLauncher)
    (alive, _), (killed, process) = start(), start()
    liveness.lock_file(launcher.home(instance), alive.run_id).unlink()
    assert launcher.lost_runs(instance) == []
    process.kill()
    process.wait()
    ((run, why),) = launcher.lost_runs(instance)
    assert run.run_id == killed.run_id
    assert why.startswith(f"Its process {process.pid} on {socket.gethostname()} is gone")

    check = instance.run_launcher.check_run_worker_health
    assert check(killed).status is WorkerStatus.RUNNING  # it may just be ending
    monkeypatch.setattr(launcher, "GRACE_S", 0)
    monkeypatch.setenv(liveness.ENV_SOCKETS, str(tmp_path / "none.sock"))
    assert check(killed).status is WorkerStatus.RUNNING  # no code server could retry it
    monkeypatch.delenv(liveness.ENV_SOCKETS)
    assert check(alive).status is WorkerStatus.RUNNING
    assert check(killed).status is WorkerStatus.FAILED
    failed = current(instance, killed)
    assert failed.status is dg.DagsterRunStatus.FAILURE
    assert failed.tags["dagster/will_retry"] == "false"
    (event,) = [e for e in instance.all_logs(killed.run_id) if e.dagster_event_type is dg.DagsterEventType.RUN_FAILURE]
    assert event.dagster_event is not None
    assert str(event.dagster_event.message).endswith("Nothing retries it: run the command again.")
    assert current(instance, alive).status is dg.DagsterRunStatus.STARTED


@pytest.mark.parametrize(
    ("elsewhere", "is_lost"),
    [
        ({"host": "pier-7", "boot": "b0"}, False),  # another machine, which alone knows its processes
        ({"host": "pier-7"}, True),  # a container of this machine that has a new name since
        ({"host": "pier-7", "locks": "theirs"}, False),  # a container of this machine with a home of its own
        ({"boot": "b0"}, True),  # this machine, before its last start
        ({"run_id": "parent"}, False),  # what a retry inherits says nothing of itself
    ],
)
def test_only_what_this_machine_knows_of_is_lost(
    instance: dg.DagsterInstance, elsewhere: dict[str, str], is_lost: bool
) -> None:
    run = create_run_for_test(instance, job_name="parcels_ingest", status=dg.DagsterRunStatus.STARTED)
    if not liveness.boot_id():
        pytest.skip("this system does not tell its starts apart")
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    worker = Worker(run.run_id, socket.gethostname(), liveness.boot_id(), ended.pid)
    instance.add_run_tags(run.run_id, {launcher.TAG: launcher.as_tag(replace(worker, **elsewhere))})
    assert bool(launcher.lost_runs(instance)) is is_lost


def test_a_step_process_that_ended_leaves_the_run_to_the_one_above(instance: dg.DagsterInstance, start: Start) -> None:
    run, process = start()
    from dagster._core.events import EngineEventData

    data = EngineEventData.in_process(1)  # the process of an executor with one for each step
    instance.report_engine_event("Executing steps", run, data)
    process.kill()
    process.wait()
    assert launcher.lost_runs(instance) == []


def test_a_run_of_an_earlier_version_is_lost_after_a_day(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster._core.events import EngineEventData

    run = create_run_for_test(instance, job_name="parcels_ingest", status=dg.DagsterRunStatus.STARTED)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    instance.report_engine_event("Started process for run", run, EngineEventData.in_process(ended.pid))
    assert launcher.lost_runs(instance) == []
    monkeypatch.setattr(launcher, "UNMARKED_S", 0)
    ((_, why),) = launcher.lost_runs(instance)
    assert f"process {ended.pid}" in why


def test_an_instance_whose_database_cannot_be_used_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    for url, rule in (("{env: NOWHERE_SET}", "not set"), ("'postgresql+psycopg2://u@127.0.0.1:1/d'", "be reached")):
        (tmp_path / "dagster.yaml").write_text(f"storage: {{postgres: {{postgres_url: {url}}}}}\n")
        with pytest.raises(MLAssetsError, match=rule) as found:
            launcher.open_instance(tmp_path)
        assert found.value.fix


def test_status_names_a_lost_run(
    instance: dg.DagsterInstance, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ml_assets.cli import status
    from ml_assets.lake.paths import Paths

    monkeypatch.setattr(status, "home_of", lambda paths: Path(instance.root_directory))
    run, process = start()
    instance.add_run_tags(run.run_id, {"ml_assets/pipeline": "parcels"})
    assert status.lost_rows(Paths.of(tmp_path), None) == []
    process.kill()
    process.wait()
    (row,) = status.lost_rows(Paths.of(tmp_path), "parcels")
    assert (row["asset"], row["state"], row["run_id"]) == ("parcels_ingest", "lost", run.run_id)
    assert status.lost_rows(Paths.of(tmp_path), "harbours") == []
