"""The stale sensor requests exactly what is stale, once, and is quiet and cheap otherwise."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest

from ml_assets.graph import run_requests, sensing
from ml_assets.graph.sensor_memory import Memory
from ml_assets_tests.conftest import Project, loans
from ml_assets_tests.graph.staleness.conftest import TRAINING, not_fresh, variant

MISSING = dict.fromkeys(TRAINING, "missing")


def tick(project: Project, cursor: str | None = None) -> Any:
    return project.tick("loans_stale", cursor)


def remembered(project: Project, result: Any) -> dict[str, Any]:
    """What the next tick knows."""
    text = Memory(project.paths.sensors / "loans_stale").read(result.cursor)
    return dict(json.loads(text or ""))


def skipped(result: Any) -> str:
    reason = result if isinstance(result, dg.SkipReason) else result.skip_reason
    assert not getattr(result, "run_requests", None)
    return str(reason.skip_message)


def run(project: Project, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """What the daemon would launch, in process."""
    return (
        project.defs()
        .resolve_job_def("loans_ingest")
        .execute_in_process(
            instance=project.instance,
            tags={**request.tags, "dagster/run_key": str(request.run_key)},
            asset_selection=list(request.asset_selection or ()),
            raise_on_error=False,
        )
    )


def asset_names(request: dg.RunRequest) -> list[str]:
    return sorted(key.path[-1] for key in request.asset_selection or ())


def span(request: dg.RunRequest) -> tuple[str, str]:
    tags = request.tags
    return tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]


def test_one_run_makes_everything_fresh(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for batch in (1, 2, 3, 4):
        project.write(batch, loans(batch, rows=40))
    assert skipped(tick(project)) == "nothing has been ingested yet"
    assert project.ingest("1", "2", "3", "4").success
    first = tick(project)
    assert "nothing stale" in skipped(first)

    assert project.ingest("1").success  # the same content again
    second = tick(project, first.cursor)
    assert "nothing stale" in skipped(second)

    project.write(1, loans(10, rows=40))
    assert project.ingest("1").success
    assert not_fresh(project) == MISSING | {"lookup_region_history": "stale 2 3", "features": "behind 2 3"}
    third = tick(project, second.cursor)
    (request,) = third.run_requests
    assert (span(request), asset_names(request)) == (("2", "3"), ["features", "lookup_region_history"])
    assert run(project, request).success
    assert not_fresh(project) == MISSING
    fourth = tick(project, third.cursor)
    assert "nothing stale" in skipped(fourth)
    monkeypatch.setattr(sensing, "Lake", None)  # an unchanged lake is not even opened
    assert "unchanged since the last check" in skipped(tick(project, fourth.cursor))


def test_a_request_names_what_is_stale_and_since_when(copied: Project) -> None:
    changed = variant(copied)
    changed.sql["features.sql"] = changed.sql["features.sql"].replace("b.income,", "b.income + 1 AS income,")
    first = tick(changed)
    (request,) = first.run_requests
    seen = remembered(changed, first)
    assert (span(request), asset_names(request)) == (("1", "5"), ["features"])
    assert "unchanged" in skipped(tick(changed, first.cursor))
    # Something else is written, so the lake is checked again; the same batches are stale for the same reason.
    cursor = json.dumps({**seen, "snapshot": 0})
    assert "requested again later" in skipped(tick(changed, cursor))
    assert tick(changed).run_requests[0].run_key == request.run_key
    # After other code in between it is another request, or a return to this code would never be picked up.
    earlier = json.dumps({**seen, "snapshot": 0, "since": 0})
    assert tick(changed, earlier).run_requests[0].run_key != request.run_key
    between = json.dumps({"code": "other", "snapshot": 0, "since": 0})
    assert tick(changed, between).run_requests[0].run_key == request.run_key


@pytest.mark.parametrize(
    ("status", "again"),
    [(dg.DagsterRunStatus.FAILURE, True), (dg.DagsterRunStatus.CANCELED, True), (dg.DagsterRunStatus.SUCCESS, False)],
)
def test_a_lost_request_is_repeated_and_one_without_effect_is_not(
    copied: Project, monkeypatch: pytest.MonkeyPatch, status: dg.DagsterRunStatus, again: bool
) -> None:
    changed = variant(copied)
    changed.sql["features.sql"] = changed.sql["features.sql"].replace("b.income,", "b.income + 3 AS income,")
    first = tick(changed)
    (request,) = first.run_requests
    ended = dg.DagsterRun(
        job_name="loans_ingest", status=status, tags={**request.tags, "dagster/run_key": str(request.run_key)}
    )
    copied.instance.add_run(ended)
    moment = run_requests.now() + run_requests.WAIT_S
    try:
        assert "unchanged" in skipped(tick(changed, first.cursor))
        monkeypatch.setattr(run_requests, "now", lambda: moment)
        for cursor in (first.cursor, None):  # one that was reset, too
            result = tick(changed, cursor)
            if not again:
                assert f"run {ended.run_id} was requested for that and has succeeded" in skipped(result)
                continue
            (repeat,) = result.run_requests
            assert repeat.run_key != request.run_key
            assert span(repeat) == ("1", "5")
            assert "no result of request 1" in repeat.tags["ml_assets/why"]
            assert "unchanged" in skipped(tick(changed, result.cursor))
    finally:
        copied.instance.delete_run(ended.run_id)


@pytest.mark.parametrize(
    ("facts", "waits"),
    [
        ({"tags": {"ml_assets/pipeline": "loans"}}, True),
        ({"asset_selection": frozenset({dg.AssetKey(["loans", "raw_data"])})}, True),
        ({"tags": {"ml_assets/pipeline": "other"}, "asset_selection": frozenset({dg.AssetKey(["x", "y"])})}, False),
    ],
    ids=["a job of ours", "a run by hand", "another pipeline's"],
)
def test_it_waits_for_runs_of_the_pipeline(copied: Project, facts: dict[str, Any], waits: bool) -> None:
    """Half of an ingest is in the lake: that is not stale."""
    busy = dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.STARTED, **facts)
    copied.instance.add_run(busy)
    try:
        reason = skipped(tick(copied))
    finally:
        copied.instance.delete_run(busy.run_id)
    assert (f"run {busy.run_id} of the pipeline is STARTED" in reason) == waits


def test_a_batch_beyond_tolerance_is_requested_when_the_tolerance_changes(project: Project) -> None:
    spoiled = loans(2, rows=40)
    spoiled.loc[:19, "income"] = -1.0
    project.write(1, loans(1, rows=40))
    project.write(2, spoiled)
    assert project.ingest("1", "2").success
    assert not_fresh(project)["validated_data"] == "failed 2"
    first = tick(project)
    assert "failed" in skipped(first)
    patient = variant(project)
    patient.spec_dict["tolerate"]["quarantined"] = 0.6
    second = tick(patient, first.cursor)
    (request,) = second.run_requests
    assert span(request) == ("1", "2")
    assert run(patient, request).success
    assert not_fresh(patient) == MISSING
    assert "nothing stale" in skipped(tick(patient, second.cursor))


def test_a_new_dagster_instance_learns_the_batches(copied: Project) -> None:
    changed = variant(copied)
    changed.sql["features.sql"] = changed.sql["features.sql"].replace("b.income,", "b.income + 2 AS income,")
    with dg.DagsterInstance.ephemeral() as instance:
        changed.instance = instance
        result = tick(changed)
    assert list(result.dynamic_partitions_requests[0].partition_keys) == ["1", "2", "3", "4", "5"]
    assert span(result.run_requests[0]) == ("1", "5")
