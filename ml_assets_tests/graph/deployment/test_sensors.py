"""The release sensor requests one run for each move, and for the batches that were never scored."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from ml_assets.graph import run_requests, sensing
from ml_assets.graph.deployment import sensors
from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables import deployments, ingest_errors, versions
from ml_assets.tables.deployments import Step
from ml_assets.tables.ingest_errors import FailedIngest
from ml_assets_tests.conftest import Project
from ml_assets_tests.lake.history_helpers import rows, write


def tick(project: Project, cursor: str | None = None) -> Any:
    return project.tick("loans_release", cursor)


def promote(project: Project, *numbers: str) -> None:
    with Lake(project.paths.lake) as lake:
        for version in numbers:
            event = versions.alias_event("loans", "champion", version, f"why {version}", "me", "")
            lake.append([event], Commit("loans/champion"))


def arrive(project: Project, *batches: str) -> None:
    """Features of batches that nobody scores."""
    with Lake(project.paths.lake) as lake:
        for batch in batches:
            columns = "row_id, v::DOUBLE AS income"
            write(lake, "features", batch, f"SELECT {columns} FROM ({rows({1: 1})})", pipeline="loans")
    project.instance.add_dynamic_partitions("loans_batches", list(batches))


def requested(result: Any) -> list[tuple[str, str]]:
    """Job, and what for."""
    return [
        (r.job_name, r.tags.get("ml_assets/batches") or r.tags["ml_assets/version"]) for r in result.run_requests or []
    ]


def test_a_new_champion_is_deployed_once(copied: Project) -> None:
    first = tick(copied)
    assert requested(first) == [("loans_deploy", "1.0.0")]
    quiet = tick(copied, first.cursor)
    assert isinstance(quiet, dg.SkipReason)
    lost = tick(copied)
    assert lost.run_requests[0].run_key == first.run_requests[0].run_key  # which Dagster never runs twice
    promote(copied, "1.0.1", "1.0.2", "1.0.0")
    moved = tick(copied, lost.cursor)
    assert requested(moved) == [("loans_deploy", "1.0.0")]
    (request,) = moved.run_requests
    assert request.tags["ml_assets/overtaken"] == "1.0.1, 1.0.2"
    assert request.tags["ml_assets/why"] == "why 1.0.0"
    assert request.run_key != first.run_requests[0].run_key  # a rollback to it is a deployment of its own
    arrive(copied, "5")
    again = tick(copied, moved.cursor)
    assert requested(again) == []
    assert "still 1.0.0" in str(again.skip_reason)


def test_what_was_never_scored_is_scored_in_ranges_of_neighbours(copied: Project) -> None:
    arrive(copied, "6", "7", "9")
    copied.instance.add_dynamic_partitions("loans_batches", ["8"])
    with Lake(copied.paths.lake) as lake:
        write(lake, "features", "10", rows({1: 1}).replace(" AS v", " AS income"), pipeline="loans")  # not registered
    result = tick(copied)
    # 1 to 4 were trained, tuned or judged on, 5 is scored, 8 has no features
    assert requested(result) == [("loans_deploy", "1.0.0"), ("loans_ingest", "6, 7, 9"), ("loans_ingest", "10")]
    scoring = result.run_requests[1]
    assert {key.path[-1] for key in scoring.asset_selection} == {"predictions", "drift_report", "performance_report"}
    assert scoring.tags["dagster/asset_partition_range_start"] == "6"
    assert scoring.tags["dagster/asset_partition_range_end"] == "9"
    (request,) = result.dynamic_partitions_requests
    assert list(request.partition_keys) == ["10"]


def test_a_batch_is_requested_once_under_each_champion(copied: Project) -> None:
    arrive(copied, "6")
    first = tick(copied)
    assert ("loans_ingest", "6") in requested(first)
    arrive(copied, "7")
    second = tick(copied, first.cursor)
    assert requested(second) == [("loans_ingest", "7")]  # 6 could not be scored: only another champion tries again
    promote(copied, "1.0.0")
    assert requested(tick(copied, second.cursor)) == [("loans_deploy", "1.0.0"), ("loans_ingest", "6, 7")]


def test_a_deployment_does_not_wait_for_a_run_and_the_backlog_does(
    copied: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(copied, "6")
    with monkeypatch.context() as patched:
        busy = dg.DagsterRun(job_name="loans_ingest", run_id="0b5e")
        patched.setattr(sensors, "unfinished_run", lambda *_: busy)
        first = tick(copied)
        assert requested(first) == [("loans_deploy", "1.0.0")]
        waits = tick(copied, first.cursor)
        assert "after run 0b5e" in str(waits.skip_message)
    assert requested(tick(copied, first.cursor)) == [("loans_ingest", "6")]


def test_before_there_is_anything(project: Project) -> None:
    assert "nothing has been ingested" in str(tick(project).skip_message)
    with Lake(project.paths.lake) as lake:
        write(lake, "features", "1", rows({1: 1}), pipeline="loans")
    first = tick(project)
    assert "no champion yet" in str(first.skip_reason)
    assert isinstance(tick(project, first.cursor), dg.SkipReason)


def test_what_a_lost_run_should_have_done_is_requested_again(copied: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive(copied, "6", "7")
    first = tick(copied)
    moment = run_requests.now()
    with Lake(copied.paths.lake) as lake:  # 6 cannot be scored; of 7 and of the deployment nothing is heard
        ingest_errors.record(lake, "loans", [FailedIngest("no such column", "6")], Commit("loans/predictions"))
    monkeypatch.setattr(run_requests, "now", lambda: moment + run_requests.WAIT_S - 1)
    quiet = tick(copied, first.cursor)
    assert requested(quiet) == []
    monkeypatch.setattr(run_requests, "now", lambda: moment + run_requests.WAIT_S)
    second = tick(copied, quiet.cursor)
    assert requested(second) == [("loans_deploy", "1.0.0"), ("loans_ingest", "7")]
    assert not {r.run_key for r in first.run_requests} & {r.run_key for r in second.run_requests}
    assert all("no result of request 1" in r.tags["ml_assets/why"] for r in second.run_requests)
    assert isinstance(tick(copied, second.cursor), dg.SkipReason)
    with Lake(copied.paths.lake) as lake:
        done = [Step("verify", "release", False, "a file is missing")]
        deployments.record(lake, "loans", deployments.moves(lake, "loans")[-1], done, Commit("loans/deployments"))
        write(lake, "predictions", "7", rows({1: 1}), pipeline="loans")
    monkeypatch.setattr(run_requests, "now", lambda: moment + run_requests.LONGEST_S)
    settled = tick(copied, second.cursor)
    assert requested(settled) == []
    monkeypatch.setattr(sensing, "Lake", None)
    monkeypatch.setattr(run_requests, "now", lambda: moment + 9 * run_requests.LONGEST_S)
    assert isinstance(tick(copied, settled.cursor), dg.SkipReason)
