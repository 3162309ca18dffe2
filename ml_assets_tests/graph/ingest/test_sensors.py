"""The new-data sensor picks up each content once."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from typing import Any

import dagster as dg
import pytest

from ml_assets.graph import run_requests, sensing
from ml_assets.graph.ingest.seen_files import SeenFiles
from ml_assets.graph.sensor_memory import Memory
from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables import ingest_errors
from ml_assets.tables.ingest_errors import FailedIngest
from ml_assets_tests.conftest import Project, loans


def tick(project: Project, cursor: str | None = None) -> Any:
    return project.tick("loans_new_data", cursor)


def ranges(result: dg.SensorResult) -> list[tuple[str, str]]:
    return [
        (r.tags["dagster/asset_partition_range_start"], r.tags["dagster/asset_partition_range_end"])
        for r in result.run_requests or []
    ]


def test_many_new_files_make_one_run(project: Project) -> None:
    for batch in (1, 2, 3):
        project.write(batch)
    result = tick(project)
    assert ranges(result) == [("1", "3")]
    (request,) = result.dynamic_partitions_requests
    assert list(request.partition_keys) == ["1", "2", "3"]
    asset_names = {key.path[-1] for key in result.run_requests[0].asset_selection}
    assert "features" in asset_names
    assert "predictions" not in asset_names  # there is no champion yet
    project.instance.add_dynamic_partitions("loans_batches", request.partition_keys)
    again = tick(project, result.cursor)
    assert isinstance(again, dg.SkipReason)
    assert "none new or changed" in str(again.skip_message)


def test_changed_files_are_ranges_of_registered_neighbours(project: Project) -> None:
    for batch in (1, 2, 3):
        project.write(batch)
    first = tick(project)
    project.instance.add_dynamic_partitions("loans_batches", ["1", "2", "3"])
    project.write(1, loans(1, rows=9))
    project.write(3, loans(3, rows=9))
    project.write(4)
    second = tick(project, first.cursor)
    assert ranges(second) == [("1", "1"), ("3", "4")]
    keys = {r.run_key for r in [*first.run_requests, *second.run_requests]}
    assert len(keys) == 3


def test_a_file_that_returns_to_its_earlier_bytes_is_picked_up_again(project: Project) -> None:
    """Dagster drops a run key that it has seen, for ever."""
    file = project.write(1)
    keys, cursor = [], None
    for rows, changed in ((150, 10), (9, 20), (150, 30)):
        project.write(1, loans(1, rows=rows))
        os.utime(file, (changed, changed))
        result = tick(project, cursor)
        project.instance.add_dynamic_partitions("loans_batches", ["1"])
        keys.append(result.run_requests[0].run_key)
        cursor = result.cursor
    assert len(set(keys)) == 3


def test_a_refused_file_is_recorded_once_and_picked_up_when_fixed(project: Project) -> None:
    (project.source / "loans_1.parquet").touch()
    first = tick(project)
    assert [[key.path[-1] for key in r.asset_selection] for r in first.run_requests] == [["arrivals"]]
    assert isinstance(tick(project, first.cursor), dg.SkipReason)
    project.write(1)
    assert ranges(tick(project, first.cursor)) == [("1", "1")]


def test_a_settling_file_waits_and_a_missing_folder_is_a_reason(project: Project) -> None:
    project.spec_dict["source"]["settle_seconds"] = 60
    project.write(1)
    waiting = tick(project)
    assert "1 settling" in str(waiting.skip_reason)
    assert "1 settling" in str(tick(project, waiting.cursor).skip_message)  # the cursor tells when it was first seen
    (project.source / "loans_1.parquet").unlink()
    project.source.rmdir()
    assert "folder does not exist" in str(tick(project).skip_message)


def test_the_same_bytes_again_make_no_batch_and_are_recorded(project: Project) -> None:
    file = project.write(1)
    first = tick(project)
    project.instance.add_dynamic_partitions("loans_batches", ["1"])
    shutil.copy(file, project.source / "loans_2.parquet")
    second = tick(project, first.cursor)
    assert [[key.path[-1] for key in r.asset_selection] for r in second.run_requests] == [["arrivals"]]
    assert not second.dynamic_partitions_requests
    assert "1 duplicate" in str(tick(project, second.cursor).skip_message)
    assert project.arrive().success
    assert "same bytes as" in project.value("SELECT error FROM {p}.arrivals WHERE status = 'duplicate'")


def test_a_refused_file_is_checked_again_when_the_yaml_changes(project: Project) -> None:
    project.write(1, loans(1).drop(columns="income"))
    first = tick(project)
    assert isinstance(tick(project, first.cursor), dg.SkipReason)
    project.spec_dict["source"]["settle_seconds"] = 0.0001  # no help to the file: it is checked once, and no more
    checked = tick(project, first.cursor)
    assert "1 refused" in str(checked.skip_reason)
    assert isinstance(tick(project, checked.cursor), dg.SkipReason)
    project.spec_dict["tolerate"]["missing_columns"] = "null"
    assert ranges(tick(project, checked.cursor)) == [("1", "1")]


def test_a_cursor_that_cannot_be_read_is_begun_anew(project: Project) -> None:
    project.write(1)
    assert ranges(tick(project, '[{"path": "an older form"}]')) == [("1", "1")]


def test_what_was_ingested_by_hand_is_not_picked_up_again(project: Project) -> None:
    for batch in (1, 2):
        project.write(batch)
    assert project.ingest("1", "2").success
    project.write(2, loans(20))
    project.write(3)
    assert ranges(tick(project)) == [("2", "3")]


def test_with_a_champion_everything_runs(copied: Project) -> None:
    assert not tick(copied).run_requests
    copied.write(6)
    result = tick(copied)
    assert result.run_requests[0].asset_selection is None


def test_a_cursor_of_many_files_is_small(project: Project) -> None:
    """Dagster stores it with every tick, 17,000 times a day."""
    for batch in range(1, 41):
        project.write(batch, loans(1, rows=2).assign(loan=[batch, -batch]))
    first = tick(project)
    assert len(first.cursor) == 64
    assert isinstance(tick(project, first.cursor), dg.SkipReason)
    project.write(7, loans(7, rows=3))
    second = tick(project, first.cursor)
    assert "7" in second.run_requests[0].tags["ml_assets/batches"].split(", ")
    assert (
        tick(project, first.cursor).run_requests[0].run_key == second.run_requests[0].run_key
    )  # killed before it was stored


def test_the_cursor_of_the_first_release_is_read(project: Project) -> None:
    file = project.write(1)
    now = SeenFiles.read(Memory(project.paths.sensors / "loans_new_data").read(tick(project).cursor))
    assert now is not None
    text = json.dumps(json.loads(now.write())[:2])
    assert str(file) in text
    upgraded = tick(project, text)
    assert upgraded.run_requests == []
    assert len(upgraded.cursor) == 64


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The sensors' clock, so many seconds on."""
    moment = run_requests.now() + seconds
    monkeypatch.setattr(run_requests, "now", lambda: moment)


def keys(result: Any) -> list[str | None]:
    return [run.run_key for run in getattr(result, "run_requests", None) or []]


def test_a_batch_whose_run_is_lost_is_requested_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kills of a worker, a cancelled run, an emptied queue: the lake shows nothing, and no run is left."""
    project.write(7)
    project.write(8)
    first = tick(project)
    project.instance.add_dynamic_partitions("loans_batches", ["7", "8"])
    later(monkeypatch, run_requests.WAIT_S - 1)
    assert keys(tick(project, first.cursor)) == []
    later(monkeypatch, 1)
    busy = dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.STARTING, tags={"ml_assets/pipeline": "loans"})
    project.instance.add_run(busy)
    assert keys(tick(project, first.cursor)) == []
    project.instance.delete_run(busy.run_id)
    second = tick(project, first.cursor)
    assert ranges(second) == [("7", "8")]
    assert keys(second) != keys(first)
    assert "no result of request 1" in second.run_requests[0].tags["ml_assets/why"]
    assert keys(tick(project, first.cursor)) == keys(second)  # killed before the cursor was stored
    later(monkeypatch, 2 * run_requests.WAIT_S - 1)
    assert keys(tick(project, second.cursor)) == []
    later(monkeypatch, 1)
    third = tick(project, second.cursor)
    assert len({*keys(first), *keys(second), *keys(third)}) == 3
    assert project.ingest("8").success  # by hand, and 7 not
    later(monkeypatch, 4 * run_requests.WAIT_S)
    fourth = tick(project, third.cursor)
    assert ranges(fourth) == [("7", "7")]
    (project.source / "loans_7.parquet").unlink()
    later(monkeypatch, run_requests.LONGEST_S)
    assert keys(tick(project, fourth.cursor)) == []  # nothing to ingest any more


def test_a_run_that_dagster_retries_is_waited_for(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(4)
    first = tick(project)
    later(monkeypatch, run_requests.WAIT_S)
    tags = {"ml_assets/pipeline": "loans", "dagster/will_retry": "true"}
    failed = dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.FAILURE, tags=tags)
    project.instance.add_run(failed)
    assert keys(tick(project, first.cursor)) == []
    project.instance.add_run_tags(failed.run_id, {"dagster/auto_retry_run_id": "one that has ended since"})
    assert len(keys(tick(project, first.cursor))) == 1


def test_a_batch_that_fails_for_its_own_data_is_requested_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure counts from the request on: an earlier one was about other bytes."""
    project.write(1)
    project.write(2)
    with Lake(project.paths.lake) as lake:
        ingest_errors.record(lake, "loans", [FailedIngest("too few rows", "1")], Commit("loans/raw_data"))
    first = tick(project)
    with Lake(project.paths.lake) as lake:
        ingest_errors.record(lake, "loans", [FailedIngest("too few rows", "2")], Commit("loans/raw_data"))
    later(monkeypatch, run_requests.WAIT_S)
    second = tick(project, first.cursor)
    assert ranges(second) == [("1", "1")]
    later(monkeypatch, run_requests.LONGEST_S)
    assert ranges(tick(project, second.cursor)) == [("1", "1")]


def test_a_lost_record_of_refused_files_is_requested_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.source / "loans_1.parquet").touch()
    first = tick(project)
    later(monkeypatch, run_requests.WAIT_S)
    second = tick(project, first.cursor)
    assert [[key.path[-1] for key in r.asset_selection] for r in second.run_requests] == [["arrivals"]]
    assert keys(second) != keys(first)
    assert project.arrive().success
    later(monkeypatch, run_requests.LONGEST_S)
    assert keys(tick(project, second.cursor)) == []


def test_a_settled_request_does_not_open_the_lake(copied: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what the memory of an earlier version knows only as seen is checked once, then never again."""
    first = tick(copied)
    memory = Memory(copied.paths.sensors / "loans_new_data")
    seen = SeenFiles.read(memory.read(first.cursor))
    assert seen is not None
    assert seen.requested == {}
    earlier = json.dumps(json.loads(seen.write())[:2])
    later(monkeypatch, run_requests.WAIT_S)
    checked = tick(copied, earlier)
    assert keys(checked) == []
    monkeypatch.setattr(sensing, "Lake", None)
    assert isinstance(tick(copied, checked.cursor), dg.SkipReason)


def test_requests_wait_longer_each_time_and_a_day_at_most() -> None:
    waits = [next(s for s in range(0, 90_000, 300) if run_requests.Request(0.0, n).is_due(s)) for n in range(1, 12)]
    assert waits[:4] == [300, 600, 1200, 2400]
    assert waits[-1] == run_requests.LONGEST_S
    assert run_requests.Request(1e12).is_due(dt.datetime.now().timestamp())  # the clock was set back
