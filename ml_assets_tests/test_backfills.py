"""Dagster's own backfills, launched as its UI launches them: each batch once, in one run and in many.

Of the last test, web server, daemon and code server are processes, and each run is one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import dagster as dg
import pytest
import yaml
from dagster._core.events import DagsterEvent
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from ml_assets import home
from ml_assets_tests import compose, postgres, s3, ui_process
from ml_assets_tests.conftest import Project, wait_until, written_project

BATCHES = [str(batch) for batch in range(1, 6)]
INGESTED = ("raw_data", "validated_data", "quarantine", "lookup_region_history", "features")
LAUNCH = """
    mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
        __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
    } }"""
STATUS = """
    query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
        ... on PartitionBackfill {
            status numPartitions error { message } runs { id status startTime endTime tags { key value } }
        }
    } }"""
Content = dict[str, list[dict[str, Any]]]
NODES = "query { assetNodes { id } }"
# The sensors would ingest the batches before anybody has asked for a backfill.
DEFINITIONS = """
    from pathlib import Path
    import dagster as dg
    import ml_assets
    defs = ml_assets.load_from_defs_folder(path_within_project=Path(__file__).parent)
    defs = dg.Definitions(defs.assets, jobs=defs.jobs, asset_checks=defs.asset_checks, resources=defs.resources,
        executor=dg.in_process_executor)
"""


@dataclass
class Running:
    """A project without sensors under `ml-assets ui`."""

    project: Project
    port: int

    def asked(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            found = json.loads(answer.read())
        assert "errors" not in found, found
        return found["data"]

    def backfilled(self, **params: Any) -> list[dict[str, str]]:
        """Launch a backfill and wait for its end; the tags of its runs, which were at work one after the other."""
        launched = self.asked(LAUNCH, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(self.asked(STATUS, id=launched["backfillId"])["partitionBackfillOrError"])
            return found["status"] not in ("REQUESTED", "CANCELING", "FAILING")

        wait_until(is_over, 600, "the end of the backfill", every_s=2)
        assert found["status"] in ("COMPLETED", "COMPLETED_SUCCESS"), found
        assert {run["status"] for run in found["runs"]} == {"SUCCESS"}
        times = sorted((run["startTime"], run["endTime"]) for run in found["runs"])
        assert all(end <= start for (_, end), (start, _) in pairwise(times)), times
        return [{tag["key"]: tag["value"] for tag in run["tags"]} for run in found["runs"]]


def project_without_sensors(root: Path, spec: dict[str, Any] | None = None, sql: dict[str, str] | None = None) -> Path:
    written_project(root, spec, sql)
    (root / "credit/definitions.py").write_text(textwrap.dedent(DEFINITIONS))
    return root


@pytest.fixture(params=["embedded", "PostgreSQL and S3"])
def place(
    request: pytest.FixtureRequest, expected: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Where the lake and Dagster's records are; what is expected has been read before."""
    assert expected
    if request.param == "embedded":
        yield
        return
    with postgres.server() as database, s3.running(tmp_path / "s3", "ml-assets") as objects:
        addresses = {
            "ML_ASSETS_CATALOG": database.database(),
            "ML_ASSETS_LAKE_DATA": "s3://ml-assets/credit",
            home.ENV_DATABASE: database.database().replace("postgresql://", home.DRIVER),
        }
        for name, value in {**addresses, **objects.environment()}.items():
            monkeypatch.setenv(name, value)
        yield


@pytest.fixture
def running(place: None, tmp_path: Path) -> Iterator[Running]:
    """The files of five batches are registered, and nothing is ingested."""
    root = project_without_sensors(tmp_path / "project")
    subprocess.run([ui_process.ML_ASSETS, "home"], cwd=root, check=True)
    with dg.DagsterInstance.from_config(str(root / "data/dagster")) as instance:
        project = Project(root, instance)
        for batch in BATCHES:
            project.write(int(batch))
        assert project.arrive().success
    with under_ui(project) as made:
        yield made


@contextlib.contextmanager
def under_ui(project: Project) -> Iterator[Running]:
    """`ml-assets ui`, once its web server lists the project's assets."""
    with ui_process.running(project.root) as (port, _):
        compose.wait_for(port, "Dagster's web server")
        made = Running(project, port)
        wait_until(lambda: bool(made.asked(NODES)["assetNodes"]), 120, "the project's assets", every_s=2)
        yield made


@pytest.fixture(scope="module")
def expected(trained: Project) -> Content:
    return content(trained)


def content(project: Project) -> Content:
    """The rows of all batches, without what tells of the run that wrote them."""
    batches = {table: f"SELECT * FROM {{p}}.{table} ORDER BY ALL" for table in INGESTED}
    left_out = ("source_file", "ingested_at", "run_id")
    return {
        table: [{name: value for name, value in row.items() if name not in left_out} for row in project.rows(sql)]
        for table, sql in batches.items()
    }


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in 2.0")  # by Dagster of Dagster
def test_neighbours_are_one_run_and_each_further_range_is_another_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Dagster's daemon puts into its queue for a backfill, and takes from it; nothing runs.

    The pipeline has a lookup, which reads earlier batches, so its ranges wait for each other.
    """
    monkeypatch.setattr(sys, "path", [*sys.path])
    root = project_without_sensors(tmp_path / "project")
    target = LoadableTargetOrigin(module_name="credit.definitions", working_directory=str(root))
    place = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(target, location_name="credit"))
    ours = yaml.safe_load(home.OURS.read_text())
    queue = {name: ours[name] for name in ("run_coordinator", "concurrency")}
    keys = [dg.AssetKey(["loans", name]) for name in INGESTED]
    with dg.instance_for_test(overrides=queue) as instance, WorkspaceProcessContext(instance, place) as workspace:
        project = Project(root, instance)
        for batch in BATCHES:
            project.write(int(batch))
        assert project.arrive().success
        for name, batches in {"whole": BATCHES, "apart": BATCHES[::2]}.items():
            request = PartitionBackfill.from_asset_partitions(
                backfill_id=name,
                asset_graph=workspace.create_request_context().asset_graph,
                partition_names=batches,
                asset_selection=keys,
                backfill_timestamp=time.time(),
                tags={},
                dynamic_partitions_store=instance,
                all_partitions=False,
                title=None,
                description=None,
                run_config=None,
            )
            instance.add_backfill(request)
        assert not any(execute_backfill_iteration(workspace, logging.getLogger("backfills")))
        ends: dict[str, list[list[str]]] = {"whole": [], "apart": []}
        for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])):
            assert set(run.asset_selection or ()) == set(keys)
            ends[run.tags["dagster/backfill"]].append(
                [run.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end")]
            )
        taken = list(taken_from_queue(instance))
    assert taken == [[BATCHES[0]], *([batch] for batch in BATCHES[::2])]
    assert ends["whole"] == [[BATCHES[0], BATCHES[-1]]]
    assert sorted(ends["apart"]) == [[batch, batch] for batch in BATCHES[::2]]


def taken_from_queue(instance: dg.DagsterInstance) -> Iterator[list[str]]:
    """The first batches of the runs that begin together, while there are any; those before have ended."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    while runs := daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None):
        yield [run.tags["dagster/asset_partition_range_start"] for run in runs]
        for run in runs:
            for kind in (dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_SUCCESS):
                instance.report_dagster_event(DagsterEvent(kind.value, run.job_name), run.run_id)


@pytest.mark.slow
def test_backfills_of_the_ui_write_each_batch_once(expected: Content, running: Running) -> None:
    assets = [{"path": ["loans", name]} for name in INGESTED]
    (run,) = running.backfilled(assetSelection=assets, partitionNames=BATCHES)
    ends = [run[f"dagster/asset_partition_range_{end}"] for end in ("start", "end")]
    assert ends == [BATCHES[0], BATCHES[-1]]
    assert content(running.project) == expected
    apart = running.backfilled(assetSelection=assets, partitionNames=BATCHES[::2])
    assert len(apart) == len(BATCHES[::2])
    assert content(running.project) == expected
    job = {
        "partitionSetName": "loans_ingest_partition_set",
        "repositorySelector": {"repositoryName": "__repository__", "repositoryLocationName": "credit"},
    }
    (run,) = running.backfilled(selector=job, partitionNames=BATCHES)
    assert run["ml_assets/pipeline"] == "loans"
    assert content(running.project) == expected
