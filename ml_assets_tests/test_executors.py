"""Executors come from configuration, and a run that trains waits for the one that does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from ml_assets import home
from ml_assets.errors import SpecError
from ml_assets.executors import executor_of
from ml_assets_tests import postgres, s3
from ml_assets_tests.conftest import Project, written_project
from ml_assets_tests.test_cluster import EQUAL

DEFINITIONS = """
from pathlib import Path
import ml_assets
defs = ml_assets.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


def wrote(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(f"[tool.ml_assets.executor]\n{text}\n")
    return folder


def test_the_executor_is_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert executor_of(tmp_path) is dg.in_process_executor
    root = wrote(tmp_path, 'name = "multiprocess"\nconfig = {max_concurrent = 3}')
    chosen = executor_of(root)
    assert chosen.name == "multiprocess"
    assert chosen is executor_of(root)  # definitions of one executor are merged
    monkeypatch.setenv("ML_ASSETS_EXECUTOR", "dagster.in_process_executor")
    assert executor_of(root) is dg.in_process_executor


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('name = "dagster_k9s.k9s_job_executor"', "cannot be imported"),
        ('name = "dagster.asset"', "is no executor"),
        ('name = "multiproces"', "cannot be imported"),
        ('nam = "multiprocess"', "did you mean 'name'?"),
        ("name = 3", "must be a string"),
    ],
)
def test_a_wrong_executor_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem.replace("?", r"\?")):
        executor_of(wrote(tmp_path, text))


def test_a_run_that_trains_waits_for_the_one_that_does(project: Project, tmp_path: Path) -> None:
    """Also one of the UI, which has none of the tags of the pipeline's own jobs; a killed one keeps no place."""
    shutil.copy(home.OURS, tmp_path / "dagster.yaml")
    job = project.defs().resolve_implicit_global_asset_job_def()
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("loans"), "loans"), job.name)
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:

        def report(run_id: str, event: dg.DagsterEventType) -> None:
            instance.report_dagster_event(DagsterEvent(event.value, job.name), run_id)

        def queue(asset: str) -> str:
            keys = frozenset({dg.AssetKey(["loans", asset])})
            run = instance.create_run_for_job(job, asset_selection=keys, remote_job_origin=origin)
            report(run.run_id, dg.DagsterEventType.RUN_ENQUEUED)
            return run.run_id

        def next_ones() -> set[str]:
            found = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
            return {run.run_id for run in found}

        training = queue("trained_model")
        assert next_ones() == {training}  # Dagster limits a pool from the second time on that it sees it
        release, arrivals = queue("champion"), queue("arrivals")
        report(training, dg.DagsterEventType.RUN_START)
        assert next_ones() == {arrivals}
        report(training, dg.DagsterEventType.RUN_FAILURE)  # what run monitoring does for one that was killed
        assert next_ones() == {release, arrivals}


@pytest.mark.slow
def test_a_process_for_each_step_computes_what_one_process_does(
    trained: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From files to a champion on PostgreSQL and S3; forty processes cost three minutes of CPU."""
    root = written_project(tmp_path / "project")
    (root / "credit/definitions.py").write_text(DEFINITIONS)
    with (root / "pyproject.toml").open("a") as settings:
        settings.write('[tool.ml_assets.executor]\nname = "multiprocess"\nconfig = {max_concurrent = 2}\n')
    made = Project(root, trained.instance)
    for batch in range(1, 5):
        made.write(batch)
    with postgres.server() as database, s3.running(tmp_path / "s3", "ml-assets") as objects:
        place = {"ML_ASSETS_CATALOG": database.database(), "ML_ASSETS_LAKE_DATA": "s3://ml-assets/credit"}
        for name, value in {**place, **objects.environment()}.items():
            monkeypatch.setenv(name, value)
        environment = {**os.environ, "DAGSTER_HOME": str(root / "data/dagster"), "PYTHONPATH": str(root)}
        program = str(Path(sys.executable).parent / "ml-assets")
        for command in (["home"], ["run", "loans"]):
            done = subprocess.run([program, *command], cwd=root, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
        for table in ("validated_data", "features"):
            expected = [row for row in trained.rows(EQUAL[table]) if row["batch"] != "5"]
            assert made.rows(EQUAL[table]) == expected, table
        assert made.rows(EQUAL["champion"]) == trained.rows(EQUAL["champion"])
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        (training,) = instance.get_runs(dg.RunsFilter(job_name="loans_train"))
        kind = dg.DagsterEventType.STEP_WORKER_STARTED
        assert len(instance.all_logs(training.run_id, of_type=kind)) >= 8, "a process for each step"
