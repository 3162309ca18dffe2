"""A backfill of Dagster's UI whose runs are jobs of a Ray cluster of two nodes, one of which is killed meanwhile.

PostgreSQL, the S3 server, the cluster, Dagster's processes and a process for each run cost three minutes of CPU.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from benchmarks import backfill
from ml_assets import home
from ml_assets.launcher import worker_of
from ml_assets_tests import postgres, s3, ui_process
from ml_assets_tests.conftest import TESTS, loans, wait_until
from ml_assets_tests.graph.training.test_on_ray import NODE, QUICK, ports, started
from ml_assets_tests.ports import free_port
from ml_assets_tests.test_backfills import LAUNCH, STATUS, Running, project_without_sensors, under_ui

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # files that Ray leaves open
]
BATCHES = [str(batch) for batch in range(1, 21)]
ROWS = 40
INGESTED = ("raw_data", "validated_data", "quarantine", "features")
IN_RUNS_OF_THREE = "\n[tool.ml_assets.backfill]\nbatches_per_run = 3\n"
TERMINATE = """
    mutation ($id: String!) { terminateRun(runId: $id) {
        __typename ... on TerminateRunFailure { message } ... on PythonError { message }
    } }"""


@dataclass
class JobCluster:
    """Two nodes with a core each.

    Args:
        ray: Ray's own.
        second: The node that is not its head.
        address: Of its jobs.
    """

    ray: Any
    second: Any
    address: str

    def jobs(self) -> list[Any]:
        from ray.job_submission import JobSubmissionClient

        return list(JobSubmissionClient(self.address).list_jobs())

    def nodes(self) -> dict[str, str]:
        """Run -> the node that took it."""
        taken = {job.metadata["dagster/run-id"]: job.driver_node_id for job in self.jobs() if job.metadata}
        return {run: node for run, node in taken.items() if node}


@pytest.fixture
def password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A lake and Dagster's records on servers; nodes are started with the secrets in their environment."""
    with postgres.server() as database, s3.running(tmp_path / "s3", "ml-assets") as objects:
        for name in ("lake", "dagster"):
            database.database(name)
        addresses = {
            "ML_ASSETS_CATALOG": database.address("lake", with_password=False),
            "ML_ASSETS_LAKE_DATA": "s3://ml-assets/credit",
            home.ENV_DATABASE: database.address("dagster", with_password=False).replace("postgresql://", home.DRIVER),
            "PGPASSWORD": database.password,
        }
        for name, value in {**addresses, **objects.environment()}.items():
            monkeypatch.setenv(name, value)
        yield database.password


@pytest.fixture
def root(password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert password
    folder = project_without_sensors(tmp_path / "project", *backfill.declared())
    with (folder / "pyproject.toml").open("a") as settings:
        settings.write(IN_RUNS_OF_THREE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(TESTS.parent)]))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setenv("RAY_JOB_STOP_WAIT_TIME_S", "60")
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "data/dagster"))
    monkeypatch.setenv("ML_ASSETS_STATIC_PAGES", "0")
    return folder


@pytest.fixture
def cluster(root: Path) -> Iterator[JobCluster]:
    pytest.importorskip("dagster_ray")
    from ray.cluster_utils import Cluster

    assert root
    on_sigterm, nodes = signal.getsignal(signal.SIGTERM), Cluster()
    port = free_port()
    jobs = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    try:
        nodes.add_node(**{**NODE, **jobs}, **ports(), no_monitor=True, _system_config=QUICK)
        second = started(nodes, {})
        yield JobCluster(nodes, second, f"http://127.0.0.1:{port}")
    finally:
        nodes.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)


@pytest.fixture
def running(root: Path, cluster: JobCluster) -> Iterator[Running]:
    """Web server, daemon and code server; the files of the batches are registered, and nothing is ingested."""
    subprocess.run([ui_process.ML_ASSETS, "home"], cwd=root, check=True)
    file = root / "data/dagster/dagster.yaml"
    launcher = home.ON_RAY.replace("http://127.0.0.1:8265", cluster.address)
    lines = [launcher if line.startswith("run_launcher:") else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")
    with dg.DagsterInstance.from_config(str(file.parent)) as instance:
        project = backfill.project_in(root, instance)
        for batch in BATCHES:
            project.write(int(batch), loans(int(batch), ROWS))
        assert project.arrive().success
        with under_ui(project) as made:
            yield made


def launched(running: Running, batches: list[str]) -> str:
    """A backfill as the UI asks for it."""
    assets = [{"path": ["loans", name]} for name in INGESTED]
    found = running.asked(LAUNCH, params={"assetSelection": assets, "partitionNames": batches})
    return str(found["launchPartitionBackfill"]["backfillId"])


def test_a_backfill_on_two_nodes_survives_the_loss_of_one(running: Running, cluster: JobCluster, password: str) -> None:
    instance, of_all = running.project.instance, launched(running, BATCHES)

    def runs_of(backfill_id: str) -> dict[str, dg.DagsterRun]:
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id}))
        return {run.run_id: run for run in runs}

    def at_work(backfill_id: str) -> set[str]:
        """Runs whose process holds its locks."""
        found = runs_of(backfill_id).values()
        return {run.run_id for run in found if run.status is dg.DagsterRunStatus.STARTED and worker_of(run)}

    def on_second() -> set[str]:
        nodes = cluster.nodes()
        return {run for run in at_work(of_all) if nodes.get(run) == cluster.second.node_id}

    def is_over() -> bool:
        status = running.asked(STATUS, id=of_all)["partitionBackfillOrError"]["status"]
        return status not in ("REQUESTED", "CANCELING", "FAILING")

    wait_until(lambda: len(set(cluster.nodes().values())) == 2 and bool(on_second()), 180, "runs on both nodes")
    (lost,) = on_second()
    worker = worker_of(runs_of(of_all)[lost])
    assert worker is not None
    cluster.ray.remove_node(cluster.second, allow_graceful=False)
    os.kill(worker.pid, signal.SIGKILL)  # it goes with its machine
    wait_until(is_over, 400, "the end of the backfill", every_s=2)
    assert running.asked(STATUS, id=of_all)["partitionBackfillOrError"]["status"] == "COMPLETED_SUCCESS"
    runs = runs_of(of_all)
    failed = {name for name, run in runs.items() if run.status is dg.DagsterRunStatus.FAILURE}
    assert failed == {lost}
    assert [run.parent_run_id for run in runs.values() if run.parent_run_id] == [lost]
    assert len(runs) == -(-len(BATCHES) // 3) + 1
    assert backfill.faults(running.project, ROWS * len(BATCHES)) == (0, 0)
    assert len(running.project.rows("SELECT DISTINCT batch FROM {p}.features")) == len(BATCHES)

    with running.project.paths.catalog.write_lock(["loans.features"], 5):  # for which the run waits
        again = launched(running, BATCHES[:1])
        wait_until(lambda: bool(at_work(again)), 120, "a run to cancel")
        (cancelled,) = at_work(again)
        assert running.asked(TERMINATE, id=cancelled)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    wait_until(lambda: runs_of(again)[cancelled].status is dg.DagsterRunStatus.CANCELED, 90, "its end")
    assert backfill.faults(running.project, ROWS * len(BATCHES)) == (0, 0)

    told = [str(job) for job in cluster.jobs()]
    told += [entry.message for name in [*runs, cancelled] for entry in instance.all_logs(name)]
    assert not [text for text in told if password in text]
