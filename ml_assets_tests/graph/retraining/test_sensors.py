"""The sensor and the schedule: rows before runs, one run for one cause, quiet otherwise; nothing is trained here."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ml_assets.graph import sensing
from ml_assets.graph.retraining import observed, sensors
from ml_assets.graph.retraining.sensors import retrain_schedule, retrain_sensor
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.tables import retrain_events
from ml_assets.tables.retrain_events import Event
from ml_assets_tests.conftest import Project, failure_text

DRIFT = {"batch": "VARCHAR", "model_version": "VARCHAR", "drifted": "BOOLEAN", "weighted_share": "DOUBLE"}
JUDGED = dict.fromkeys(("batch", "model_version", "metric"), "VARCHAR") | {
    "judged": "BOOLEAN",
    "decayed": "BOOLEAN",
}


def tick(project: Project, cursor: str | None = None) -> Any:
    sensor = retrain_sensor(project.spec, project.paths, "loans_train")
    return sensor(dg.build_sensor_context(instance=project.instance, cursor=cursor))


def skipped(result: Any) -> str:
    reason = result if isinstance(result, dg.SkipReason) else result.skip_reason
    assert not getattr(result, "run_requests", None)
    return str(reason.skip_message)


def put(project: Project, asset_name: str, types: dict[str, str], row: dict[str, object]) -> None:
    """A row by hand, in place of the batch's."""
    with Lake(project.paths.lake) as lake:
        batch = str(row["batch"])
        source = lake.values(types, [row])
        lake.replace([Put(f"loans.{asset_name}", source, batch)], Commit(f"loans/{asset_name}", "run", "v", batch))


def drifted(project: Project, batch: int, share: float = 0.6, *, verdict: bool = True) -> None:
    row = {"batch": str(batch), "model_version": "1.0.0", "drifted": verdict, "weighted_share": share}
    put(project, "drift_report", DRIFT, row)


def arrive(project: Project, batch: int, rows: int = 150) -> None:
    """Features and validated rows of a batch, by hand."""
    source = f"(SELECT '{batch}' AS batch, range AS row_id, 12.0::DOUBLE AS late_days FROM range({rows}))"
    features = f"(SELECT * EXCLUDE (late_days) FROM {source})"
    with Lake(project.paths.lake) as lake:
        puts = [Put("loans.validated_data", source, str(batch)), Put("loans.features", features, str(batch))]
        lake.replace(puts, Commit("loans/features", "run", "v", str(batch)))


def events(project: Project) -> list[Event]:
    with Lake(project.paths.lake, read_only=True) as lake:
        return retrain_events.read(lake, "loans")


def said(project: Project) -> list[tuple[str, str]]:
    return [(event.decision, event.trigger) for event in events(project) if event.trigger != "manual"]


def launched(project: Project, request: Any, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    """What the daemon makes of a request."""
    run = dg.DagsterRun(
        job_name="loans_train", status=status, tags={**request.tags, "dagster/run_key": request.run_key, **tags}
    )
    project.instance.add_run(run)
    return run


def test_a_drifted_batch_starts_one_run(copied: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = tick(copied)
    assert skipped(calm) == "nothing triggers a training"
    drifted(copied, 5)
    first = tick(copied, calm.cursor)
    (request,) = first.run_requests
    event = events(copied)[-1]
    assert said(copied) == [("train", "drift")]
    assert (event.batches, event.champion, event.triggered_by) == (["5"], "1.0.0", "sensor loans_retrain")
    assert request.run_key == event.run_key == event.event_id == request.tags["ml_assets/retrain_event"]
    assert (request.tags["ml_assets/retrain"], request.tags["ml_assets/batches"]) == ("drift", "5")
    assert request.tags["ml_assets/why"] == event.why == "batch 5 has drifted (60% of the model's importance)"

    launched(copied, request, dg.DagsterRunStatus.STARTING)
    second = tick(copied, first.cursor)
    assert skipped(second) == "nothing triggers a training"
    monkeypatch.setattr(sensing, "Lake", None)  # an unchanged lake is not even opened
    assert skipped(tick(copied, second.cursor)) == "nothing has changed since the last check"
    assert len(said(copied)) == 1


def test_a_daemon_that_is_killed_before_it_requests_the_run_loses_nothing(copied: Project) -> None:
    drifted(copied, 5)
    (request,) = tick(copied).run_requests
    again = tick(copied)  # no run was launched, no cursor was kept
    assert [one.run_key for one in again.run_requests] == [request.run_key]
    assert again.run_requests[0].tags == request.tags
    assert len(said(copied)) == 1
    launched(copied, request, dg.DagsterRunStatus.STARTED)
    assert skipped(tick(copied)) == "nothing triggers a training"


def test_a_training_that_failed_is_repeated_with_the_next_batch(copied: Project) -> None:
    drifted(copied, 5)
    (request,) = tick(copied).run_requests
    run = launched(copied, request, dg.DagsterRunStatus.FAILURE, **{"dagster/will_retry": "true"})
    assert skipped(tick(copied)) == "nothing triggers a training"  # Dagster tries again
    retry = launched(copied, request, dg.DagsterRunStatus.FAILURE, **{"dagster/parent_run_id": run.run_id})
    assert "the next new batch starts another" in skipped(tick(copied))
    arrive(copied, 6)
    (second,) = tick(copied).run_requests
    assert second.run_key != request.run_key
    assert "the training before failed" in second.tags["ml_assets/why"]
    assert said(copied) == [("train", "drift"), ("wait", "drift"), ("train", "drift")]
    assert retry.run_id != run.run_id


def test_a_training_under_way_is_waited_for(copied: Project) -> None:
    drifted(copied, 5)
    key = dg.AssetKey(["loans", "training_set"])
    by_hand = dg.DagsterRun("__ASSET_JOB", status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset([key]))
    copied.instance.add_run(by_hand)
    copied.instance.add_run(dg.DagsterRun("cars_train", status=dg.DagsterRunStatus.STARTED))
    first = tick(copied)
    assert f"the training of run {by_hand.run_id} is under way (batch 5 has drifted" in skipped(first)
    assert "nothing has changed" in skipped(tick(copied, first.cursor))
    assert "under way" in skipped(tick(copied))  # said again, not written again
    copied.instance.delete_run(by_hand.run_id)
    assert tick(copied, first.cursor).run_requests
    assert said(copied) == [("wait", "drift"), ("train", "drift")]


def test_a_write_during_a_check_is_checked(copied: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    drifted(copied, 5)
    read = observed.read_situation

    def read_while_others_write(*arguments: Any) -> Any:
        situation = read(*arguments)
        arrive(copied, 6)
        return situation

    monkeypatch.setattr(observed, "read_situation", read_while_others_write)
    first = tick(copied)
    assert first.run_requests
    monkeypatch.undo()
    launched(copied, first.run_requests[0], dg.DagsterRunStatus.SUCCESS)
    assert not isinstance(tick(copied, first.cursor), dg.SkipReason)  # a whole check


def test_the_first_training_starts_by_itself(project: Project) -> None:
    assert skipped(tick(project)) == "nothing has been ingested yet"
    arrive(project, 1)
    first = tick(project)
    assert "1 of 3 batches have features" in skipped(first)
    arrive(project, 2)
    arrive(project, 3)
    (request,) = tick(project, first.cursor).run_requests
    assert request.tags["ml_assets/retrain"] == "first"
    assert said(project) == [("wait", "first"), ("train", "first")]


def test_another_rule_in_the_yaml_is_another_check(copied: Project) -> None:
    drifted(copied, 5)
    copied.spec_dict["retrain"] = {"min_rows": 151}
    first = tick(copied)
    assert "150 of 151 labelled rows that the last training did not have" in skipped(first)
    copied.spec_dict["retrain"] = {}
    assert tick(copied, first.cursor).run_requests


def test_what_earlier_versions_wrote_is_read(copied: Project) -> None:
    """Reports lack some of today's columns; batch 4 is in the training set."""
    drifted(copied, 4)
    row = {"batch": "5", "model_version": "0.9.0", "metric": "roc_auc", "judged": True, "decayed": True}
    put(copied, "performance_report", JUDGED, row)  # it is not the champion's
    assert "the training set of run" in skipped(tick(copied))
    assert [(event.decision, event.batches) for event in events(copied)[1:]] == [("skip", ["4"])]
    put(copied, "performance_report", JUDGED, {**row, "model_version": "1.0.0"})
    assert tick(copied).run_requests[0].tags["ml_assets/retrain"] == "decay"


def report(folder: Path, name: str, content: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    os.utime(folder / name, (time.time() - 100,) * 2)


def test_reports_of_other_jobs_start_a_training_once(copied: Project) -> None:
    copied.spec_dict["monitoring"] = {"reports": "reports"}
    folder = copied.root / "reports"
    missing = tick(copied)
    assert "The folder of monitoring.reports does not exist" in skipped(missing)
    assert "nothing has changed" in skipped(tick(copied, missing.cursor))
    share = {"metric_name": "DriftedColumnsCount(drift_share=0.5)", "value": {"count": 2, "share": 0.8}}
    report(folder, "bad.json", "[]")
    report(folder, "calm.json", json.dumps({"metrics": [{**share, "value": {"count": 0, "share": 0.1}}]}))
    bad = tick(copied, missing.cursor)
    assert "bad.json: The file is no drift report" in skipped(bad)
    report(folder, "drifted.json", json.dumps({"metrics": [share]}))
    first = tick(copied, bad.cursor)
    assert first.run_requests[0].tags["ml_assets/why"] == "report drifted.json says drift (80% of its columns)"
    launched(copied, first.run_requests[0], dg.DagsterRunStatus.SUCCESS)
    report(folder, "copy.json", json.dumps({"metrics": [share]}))
    assert isinstance(tick(copied, first.cursor), dg.SkipReason)
    assert "the next new batch starts another" in skipped(tick(copied))  # a run that left nothing in the lake
    assert said(copied) == [("skip", "report"), ("skip", "report"), ("train", "report"), ("wait", "report")]


def test_a_busy_lake_is_a_reason_to_skip(copied: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    drifted(copied, 5)
    monkeypatch.setattr(sensors, "LOCK_S", 0.1)
    catalog = copied.paths.catalog
    for lock in (catalog.lock("loans.retrain", 1, "testing"), catalog.write_lock((), 1)):
        with lock:
            found = tick(copied)
            assert isinstance(found, dg.SkipReason)  # no cursor: the next tick tries again
            assert "the lake is busy; the next tick tries again: Another process has been" in skipped(found)


def ask_by_schedule(project: Project, day: int) -> Any:
    (schedule,) = retrain_schedule(project.spec, project.paths, "loans_train")
    moment = dt.datetime(2026, 1, day, 3, tzinfo=dt.UTC)
    return schedule(dg.build_schedule_context(instance=project.instance, scheduled_execution_time=moment))


def on_disk(project: Project, folder: Path) -> Project:
    """With an instance as a schedule wants it."""
    project.instance = dg.DagsterInstance.local_temp(str(folder))
    return project


def test_the_schedule_goes_through_the_same_decision(copied: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert retrain_schedule(copied.spec, copied.paths, "loans_train") == []
    on_disk(copied, tmp_path_factory.mktemp("home"))
    copied.spec_dict["retrain"] = {"cron": "0 3 * * *", "cooldown_batches": 2}
    held = ask_by_schedule(copied, 1)
    assert "1 of 2 new batches have arrived" in str(held.skip_message)
    arrive(copied, 6)
    (request,) = tick(copied).run_requests  # the sensor has not forgotten it
    assert request.tags["ml_assets/retrain"] == "cron"
    assert request.tags["ml_assets/why"] == "the schedule of 2026-01-01 03:00 UTC"
    launched(copied, request, dg.DagsterRunStatus.STARTED)
    assert "under way" in str(ask_by_schedule(copied, 2).skip_message)
    assert [event.triggered_by for event in events(copied)[1:]] == [
        "schedule loans_retrain_cron",
        "sensor loans_retrain",
        "schedule loans_retrain_cron",
    ]


def test_the_sensor_leaves_a_lost_run_of_the_schedule_to_it(
    copied: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    on_disk(copied, tmp_path_factory.mktemp("home"))
    copied.spec_dict["retrain"] = {"cron": "0 3 * * *"}
    lost = ask_by_schedule(copied, 1)
    assert "the next new batch starts another" in skipped(tick(copied))  # it would start a second run of the same
    assert ask_by_schedule(copied, 1).run_key == lost.run_key


def test_a_training_by_hand_is_an_event(trained: Project) -> None:
    (event,) = events(trained)
    assert (event.decision, event.trigger, event.champion, event.batches) == ("train", "manual", None, [])
    assert event.run_id == trained.value("SELECT run_id FROM {p}.training_set")
    assert event.why == f"requested by {event.triggered_by}"
    with Lake(trained.paths.lake, read_only=True) as lake:
        situation = observed.read_situation(lake, trained.spec, [], {})
    (training,) = situation.trainings
    assert (training.state, training.decision, training.version) == ("done", "promoted", "1.0.0")
    assert (training.batches, training.rows, training.event_id) == (frozenset("1234"), 600, event.event_id)
    assert list(situation.arrivals) == list("12345")
    assert [batch for batch in situation.arrivals if batch in situation.new_batches(training)] == ["5"]
    assert situation.labelled == dict.fromkeys("12345", 150)


def test_a_run_names_its_event(copied: Project) -> None:
    drifted(copied, 5)
    (request,) = tick(copied).run_requests
    result = (
        copied.defs()
        .resolve_job_def("loans_train")
        .execute_in_process(
            instance=copied.instance,
            tags={**request.tags, "dagster/run_key": str(request.run_key), "dagster/sensor_name": "loans_retrain"},
            asset_selection=[dg.AssetKey(["loans", "training_set"])],
            raise_on_error=False,
        )
    )
    assert result.success, failure_text(result)
    event = events(copied)[-1]
    assert (event.event_id, event.run_id) == (request.run_key, result.run_id)
    assert len(events(copied)) == 2
    (made,) = result.asset_materializations_for_node("loans__training_set")
    assert made.metadata["trigger"].value == "drift"
    assert made.metadata["why"].value == event.why
    assert "the next new batch starts another" in skipped(tick(copied))  # it made no version
    with Lake(copied.paths.lake, read_only=True) as lake:
        retried = {"another run": observed.UnderWay("a retry", event.event_id)}
        assert observed.read_situation(lake, copied.spec, [], retried).trainings[-1].state == "running"
