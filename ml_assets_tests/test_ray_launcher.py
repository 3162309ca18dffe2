"""A run on Ray is lost once its job and its process are gone; what Ray does not know is judged by its locks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.test_utils import create_run_for_test

from ml_assets import home, launcher
from ml_assets.errors import SpecError
from ml_assets_tests.test_launcher import SETTINGS, current

pytest.importorskip("dagster_ray")
ADDRESS = "http://127.0.0.1:8265"


class FakeJobs:
    """What the launcher asks of a cluster's jobs."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.is_up = True
        self.loses_answers = False
        self.submitted: dict[str, Any] = {}

    def get_job_info(self, name: str) -> Any:
        if not self.is_up:
            raise ConnectionError("refused")
        if name not in self.jobs:
            raise RuntimeError("Request failed with status code 404")
        from ray.job_submission import JobStatus

        return SimpleNamespace(submission_id=name, status=JobStatus(self.jobs[name]), message="its node has died")

    def submit_job(self, submission_id: str, **options: Any) -> None:
        if self.is_up:
            self.jobs[submission_id], self.submitted = "PENDING", options
        if self.loses_answers or not self.is_up:
            raise ConnectionError("refused")


@pytest.fixture
def ray() -> FakeJobs:
    return FakeJobs()


@pytest.fixture
def instance(tmp_path: Path, ray: FakeJobs, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setattr(launcher, "GRACE_S", 0)
    monkeypatch.setattr("ml_assets.ray_launcher.GRACE_S", 0)
    settings = {**SETTINGS, **yaml.safe_load(home.ON_RAY)}
    with dg.instance_for_test(overrides=settings, temp_dir=str(tmp_path)) as made:
        made.run_launcher.client = ray  # type: ignore[attr-defined]
        yield made


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    run: dg.DagsterRun = create_run_for_test(instance, "parcels_ingest", status=dg.DagsterRunStatus.STARTED)
    return run


def test_the_launcher_is_that_of_the_configuration(instance: dg.DagsterInstance) -> None:
    from ml_assets.ray_launcher import RayRunLauncher

    found = instance.run_launcher
    assert isinstance(found, RayRunLauncher)
    assert (found.address, found.num_cpus) == (ADDRESS, 1)
    assert not found.supports_resume_run


def test_a_run_whose_job_has_ended_is_lost_once_no_process_holds_its_locks(
    instance: dg.DagsterInstance, ray: FakeJobs
) -> None:
    run = started(instance)
    check = instance.run_launcher.check_run_worker_health
    ray.jobs[f"dagster-run-{run.run_id}"] = "RUNNING"
    assert check(run).status is WorkerStatus.RUNNING
    with launcher.at_work(instance, run.run_id):
        ray.jobs[f"dagster-run-{run.run_id}"] = "FAILED"
        assert check(current(instance, run)).status is WorkerStatus.RUNNING, "Ray has given up a process that lives"
    found = check(current(instance, run))
    assert found.status is WorkerStatus.FAILED
    assert "its node has died" in str(found.msg)
    assert current(instance, run).status is dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize("is_up", [True, False])
def test_a_run_that_ray_does_not_know_is_judged_by_its_locks(
    instance: dg.DagsterInstance, ray: FakeJobs, is_up: bool
) -> None:
    """One of a terminal, or of a cluster that cannot be asked."""
    run, ray.is_up = started(instance), is_up
    check = instance.run_launcher.check_run_worker_health
    with launcher.at_work(instance, run.run_id):
        assert check(current(instance, run)).status is WorkerStatus.RUNNING
    assert check(current(instance, run)).status is WorkerStatus.FAILED


def test_a_run_is_submitted_once_whatever_becomes_of_the_answer(
    instance: dg.DagsterInstance, ray: FakeJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "s3cr3t")
    code = RepositoryPythonOrigin(
        sys.executable, ModuleCodePointer("parcels.definitions", "defs"), entry_point=["dagster"]
    )
    run = create_run_for_test(instance, "parcels_ingest", job_code_origin=JobPythonOrigin("parcels_ingest", code))
    context = LaunchRunContext(run, workspace=None)
    ray.is_up = False
    with pytest.raises(DagsterUserCodeUnreachableError, match=ADDRESS):  # Dagster's queue tries again
        instance.run_launcher.launch_run(context)
    ray.is_up = ray.loses_answers = True
    instance.run_launcher.launch_run(context)
    assert list(ray.jobs) == [f"dagster-run-{run.run_id}"]
    assert ray.submitted["entrypoint_num_cpus"] == 1, "else each job would be on the head"
    assert "s3cr3t" not in str(ray.submitted)


def test_what_ray_refuses_fails_the_run(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("Request failed with status code 500")

    monkeypatch.setattr("dagster_ray.core.run_launcher.RayRunLauncher.launch_run", refuse)
    with pytest.raises(RuntimeError, match="500"):
        instance.run_launcher.launch_run(LaunchRunContext(started(instance), workspace=None))


def test_a_run_that_does_not_start_is_told_of_without_its_environment(
    instance: dg.DagsterInstance, ray: FakeJobs
) -> None:
    run = started(instance)
    assert instance.run_launcher.get_run_worker_debug_info(run) is None
    ray.jobs[f"dagster-run-{run.run_id}"] = "FAILED"
    text = f"Ray job dagster-run-{run.run_id}: FAILED. its node has died"
    assert instance.run_launcher.get_run_worker_debug_info(run) == text


def test_without_the_library_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dagster_ray.core", None)
    monkeypatch.delitem(sys.modules, "ml_assets.ray_launcher", raising=False)
    with pytest.raises(SpecError, match=r"pip install 'ml-assets\[ray\]'"):
        importlib.import_module("ml_assets.ray_launcher")
