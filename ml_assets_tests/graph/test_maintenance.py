"""The maintenance as a job of Dagster, and its schedule."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest

from ml_assets.lake.lake import Lake
from ml_assets_tests.conftest import Project, failure_text
from ml_assets_tests.graph.scoring.test_prediction_log import answered, ingest, server
from ml_assets_tests.lake.history_helpers import log, rows, write


def test_the_job_reports_what_it_did(project: Project) -> None:
    with Lake(project.paths.lake) as lake:
        for number in range(10):
            log(lake, number, pipeline="loans")
    result = project.defs().resolve_job_def("loans_maintenance").execute_in_process(instance=project.instance)
    assert result.success, failure_text(result)
    (output,) = [event for event in result.all_events if event.is_successful_output]
    metadata = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert (metadata["snapshots"], metadata["files_merged"]) == (0, 10)
    (row,) = project.rows("FROM {p}.maintenance")
    assert (row["keep_days"], row["files_merged"], row["run_id"]) == (30, 10, result.run_id)


@pytest.mark.parametrize(("keep_days", "kept"), [(90, ["new"]), (None, ["new", "old"])])
def test_what_servers_logged_is_kept_as_long_as_the_yaml_says(
    project: Project, keep_days: int | None, kept: list[str]
) -> None:
    project.spec_dict["serving"] = {"log": {"keep_days": keep_days}}
    now = dt.datetime.now(dt.UTC)
    for name, at in (("old", now - dt.timedelta(days=91)), ("new", now - dt.timedelta(days=89))):
        with server(project, at=at) as write_log:
            write_log(answered(name))
        ingest(project, f"{at:%Y-%m-%dT%H}")
        project.instance.add_dynamic_partitions("loans_hours", [f"{at:%Y-%m-%dT%H}"])
    assert project.defs().resolve_job_def("loans_maintenance").execute_in_process(instance=project.instance).success
    assert project.value("SELECT list(DISTINCT request_id ORDER BY request_id) FROM {p}.prediction_log") == kept
    assert len(project.instance.get_dynamic_partitions("loans_hours")) == len(kept)


def test_a_pipeline_that_has_not_written_yet_has_nothing_to_keep_up(project: Project) -> None:
    job = project.defs().resolve_job_def("loans_maintenance")
    assert job.execute_in_process(instance=project.instance).success
    assert not project.paths.lake.exists()
    with Lake(project.paths.lake) as lake:
        write(lake, "features", "a", rows({1: 1}), pipeline="loans_2")
    assert job.execute_in_process(instance=project.instance).success
    with Lake(project.paths.lake, read_only=True) as lake:
        assert lake.tables() == ["loans_2.features"]


@pytest.mark.parametrize(("cron", "found"), [(None, []), ("30 1 * * 0", ["30 1 * * 0"])])
def test_the_schedule_follows_the_yaml(project: Project, cron: str | None, found: list[str]) -> None:
    project.spec_dict["maintenance"] = {"cron": cron}
    assert [one.cron_schedule for one in project.defs().schedules or ()] == found


def test_it_runs_every_night_by_default_and_never_keeps_other_runs_waiting(project: Project) -> None:
    defs = project.defs()
    (schedule,) = defs.schedules or ()
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.name, schedule.default_status) == ("loans_maintenance", dg.DefaultScheduleStatus.RUNNING)
    tags = defs.resolve_job_def("loans_maintenance").tags
    assert "ml_assets/pipeline" not in tags
    assert int(tags["dagster/priority"]) < 0
