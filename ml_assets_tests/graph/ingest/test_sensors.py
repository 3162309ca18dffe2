"""The new-data sensor takes up each content once."""

from __future__ import annotations

import os
import shutil
from typing import Any

import dagster as dg

from ml_assets.graph.ingest import sensors
from ml_assets.store.memory import Memory
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
    nouns = {key.path[-1] for key in result.run_requests[0].asset_selection}
    assert "features" in nouns
    assert "predictions" not in nouns  # there is no champion yet
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


def test_a_file_that_returns_to_its_earlier_bytes_is_taken_up_again(project: Project) -> None:
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


def test_a_refused_file_is_recorded_once_and_taken_up_when_mended(project: Project) -> None:
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


def test_a_refused_file_is_looked_at_again_when_the_yaml_changes(project: Project) -> None:
    project.write(1, loans(1).drop(columns="income"))
    first = tick(project)
    assert isinstance(tick(project, first.cursor), dg.SkipReason)
    project.spec_dict["source"]["settle_seconds"] = 0.0001  # no help to the file: it is looked at once, and no more
    looked = tick(project, first.cursor)
    assert "1 refused" in str(looked.skip_reason)
    assert isinstance(tick(project, looked.cursor), dg.SkipReason)
    project.spec_dict["tolerate"]["missing_columns"] = "null"
    assert ranges(tick(project, looked.cursor)) == [("1", "1")]


def test_a_cursor_that_cannot_be_read_is_begun_anew(project: Project) -> None:
    project.write(1)
    assert ranges(tick(project, '[{"path": "an older form"}]')) == [("1", "1")]


def test_what_was_ingested_by_hand_is_not_taken_up_again(project: Project) -> None:
    for batch in (1, 2):
        project.write(batch)
    assert project.ingest("1", "2").success
    project.write(2, loans(20))
    project.write(3)
    assert ranges(tick(project)) == [("2", "3")]


def test_with_a_champion_everything_runs(trained: Project) -> None:
    assert not tick(trained).run_requests
    file = trained.write(6)
    try:
        result = tick(trained)
    finally:
        file.unlink()
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
    now = sensors.read_seen(Memory(project.paths.sensors / "loans_new_data").read(tick(project).cursor))
    assert now is not None
    text = sensors.write_seen(now[0], list(now[1].values()))
    assert str(file) in text
    upgraded = tick(project, text)
    assert upgraded.run_requests == []
    assert len(upgraded.cursor) == 64
