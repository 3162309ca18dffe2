"""The servers' logs in the lake: every record once, whatever is rotated, killed, repeated or damaged in between."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ml_assets.errors import LakeError
from ml_assets.graph.scoring import log_sensors, prediction_log
from ml_assets.lake.artifacts import UrlArtifacts
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.server.prediction_log import LogRules, PredictionLog
from ml_assets.server.shipping import ship
from ml_assets.tables import prediction_log as tables
from ml_assets_tests.conftest import Project, check_results, failure_text

NINE = dt.datetime(2026, 1, 2, 9, 30, tzinfo=dt.UTC)
HOUR = "2026-01-02T09"
BY = Commit("loans/prediction_log")


WRITER = """
    import sys
    import time
    from pathlib import Path
    from ml_assets.server.prediction_log import PredictionLog
    log, number = PredictionLog(Path(sys.argv[1]), sys.argv[2], segment_bytes=50_000), 0
    while True:
        name = f"{sys.argv[2]}{number}"
        outcome = {"id": name, "values": {"late_days": number}}
        log.write("loans", [{"kind": "feedback", "id": name, "at": "2026-01-02T12:00:00Z", "outcomes": [outcome]}])
        print(name, flush=True)
        time.sleep(0.002)
        number += 1
"""


def answered(name: str, rows: int = 2, at: dt.datetime = NINE, **more: Any) -> bytes:
    """The record of a request with so many rows."""
    record = LogRules().predicted(
        request_id=name,
        at=at,
        version="1.0.0",
        role="champion",
        rows=[{"loan": number, "region": "A"} for number in range(rows)],
        features={"income": [0.1] * rows, "region": ["A"] * rows},
        scores=[0.25] * rows,
        decisions=["0"] * rows,
        latency_ms=1.5,
        **more,
    )
    assert record is not None
    return record


def feedback(name: str, *outcomes: dict[str, Any], at: dt.datetime = NINE) -> bytes:
    return LogRules().feedback(request_id=name, at=at, outcomes=outcomes)


@contextlib.contextmanager
def server(project: Project, name: str = "a", at: dt.datetime = NINE, segment_bytes: int = 10_000) -> Any:
    with contextlib.closing(PredictionLog(project.paths.serving, name, segment_bytes, lambda: at)) as log:
        yield lambda *records: log.write("loans", records)


def ingest(project: Project, hour: str = HOUR) -> prediction_log.Ingested:
    with Lake(project.paths.lake) as lake:
        return prediction_log.ingest(lake, project.paths, "loans", hour, BY)


def logged(project: Project) -> list[tuple[str, int]]:
    rows = project.rows("SELECT request_id, row_number FROM {p}.prediction_log ORDER BY ALL")
    return [(row["request_id"], row["row_number"]) for row in rows]


def both(*names: str) -> list[tuple[str, int]]:
    return [(name, row) for name in names for row in (0, 1)]


def files(project: Project) -> list[Path]:
    return sorted(project.paths.serving.rglob("*.log"))


def test_records_become_rows_with_everything_that_was_logged(project: Project) -> None:
    with server(project) as write:
        write(answered("r1", keys=["k1", {"loan": 7}], positions=[4, 5], probabilities=None))
        write(feedback("f1", {"id": "r1", "row": 4, "values": {"late_days": 12.5}}))
        write(feedback("f2", {"key": {"loan": 7}, "values": {"late_days": 1}}))
    found = ingest(project)
    assert (found.rows, found.outcomes, found.segments, found.removed) == (2, 2, 1, 1)
    first, second = project.rows("SELECT * EXCLUDE (segment) FROM {p}.prediction_log ORDER BY row_number")
    assert first == {
        "hour": HOUR,
        "request_id": "r1",
        "row_number": 4,
        "received_at": NINE.replace(tzinfo=None),
        "model_version": "1.0.0",
        "role": "champion",
        "key": "k1",
        "request": '{"loan":0,"region":"A"}',
        "features": '{"income":0.1,"region":"A"}',
        "score": 0.25,
        "decision": "0",
        "probabilities": None,
        "latency_ms": 1.5,
        "line": 1,
    }
    assert (second["row_number"], second["key"]) == (5, '{"loan":7}')
    by_id, by_key = project.rows("SELECT request_id, row_number, key, outcomes FROM {p}.feedback ORDER BY feedback_id")
    assert by_id == {"request_id": "r1", "row_number": 4, "key": None, "outcomes": '{"late_days":12.5}'}
    assert by_key == {"request_id": None, "row_number": None, "key": '{"loan":7}', "outcomes": '{"late_days":1}'}


def test_what_is_read_again_or_grows_is_there_once(project: Project) -> None:
    with server(project) as write:
        write(answered("r1"))
        ingest(project)
        write(answered("r2"))
        ingest(project)
        assert ingest(project).rows == 0
        assert len(files(project)) == 1, "a server holds it"
    assert logged(project) == both("r1", "r2")
    assert ingest(project).removed == 1
    assert not list(project.paths.serving.glob("loans/*"))
    assert logged(project) == both("r1", "r2")


def test_every_segment_of_several_servers_is_read_once(project: Project) -> None:
    with server(project, "a", segment_bytes=1) as one, server(project, "b") as other:
        for number in range(3):
            one(answered(f"a{number}"))
            other(answered(f"b{number}"))
        assert ingest(project).segments == 4
    ingest(project)
    assert logged(project) == both("a0", "a1", "a2", "b0", "b1", "b2")
    assert files(project) == []


def test_a_torn_tail_is_no_row_and_does_not_keep_its_segment(project: Project) -> None:
    with server(project) as write:
        write(answered("r1"), answered("torn"))
    (file,) = files(project)
    os.truncate(file, file.stat().st_size - 1)
    assert ingest(project).removed == 1
    assert logged(project) == both("r1")


def test_a_damaged_line_is_named_kept_and_no_other_is_lost(project: Project) -> None:
    with server(project) as write:
        write(answered("r1"), answered("damaged"), answered("r2"))
    (file,) = files(project)
    data = bytearray(file.read_bytes())
    data[data.index(b"damaged")] ^= 1
    file.write_bytes(bytes(data))
    project.instance.add_dynamic_partitions("loans_hours", [HOUR])
    result = project.materialize("prediction_log", batches=[HOUR])
    assert result.success, failure_text(result)
    assert logged(project) == both("r1", "r2")
    assert check_results(result)["prediction_log", "every_line_is_read", HOUR] is False
    (said,) = [one.description for one in result.get_asset_check_evaluations() if one.partition]
    assert said == f"{HOUR}/{file.name}, line 2: its checksum is wrong"
    assert files(project) == [file]
    assert project.materialize("prediction_log", batches=[HOUR]).success
    assert logged(project) == both("r1", "r2")


@pytest.mark.parametrize("is_committed", [False, True])
def test_killed_around_the_commit_nothing_is_lost_or_doubled(
    project: Project, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    with server(project) as write:
        write(answered("r1"))
    work = Lake.replace

    def killed(self: Lake, *arguments: Any) -> Any:
        if is_committed:
            work(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest(project)
    assert len(files(project)) == 1
    ingest(project)
    assert logged(project) == both("r1")
    assert files(project) == []


def test_read_while_two_servers_write_and_are_killed_every_acknowledged_record_is_there_once(project: Project) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(project.paths.serving)]
    servers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE) for name in "ab"]
    acknowledged: set[str] = set()
    for one in servers:
        assert one.stdout is not None
        acknowledged.add(one.stdout.readline().decode().strip())
    for _ in range(2):
        read_all(project)
    for one in servers:
        one.kill()
        acknowledged |= {line.decode().strip() for line in one.communicate()[0].split(b"\n") if line}
    read_all(project)
    found = [row["feedback_id"] for row in project.rows("SELECT feedback_id FROM {p}.feedback")]
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert len(found) <= len(acknowledged) + 2, "one of each server may not have been acknowledged any more"


def read_all(project: Project) -> None:
    for hour in sorted({file.parent.name for file in files(project)}):
        ingest(project, hour)


def test_a_commit_that_is_repeated_after_it_succeeded_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed commit may be in the catalog all the same; the lake then tries the same rows again."""
    with server(project) as write:
        write(answered("r1"))
    commit = Lake._commit

    def twice(self: Lake, *arguments: Any) -> None:
        commit(self, *arguments)
        commit(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "_commit", twice)
        with pytest.raises(LakeError, match="other rows of a segment"):
            ingest(project)
    ingest(project)
    assert logged(project) == both("r1")


def test_more_than_one_reading_of_a_segment_loses_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "READ_BYTES", 300)
    with server(project) as write:
        for number in range(5):
            write(answered(f"r{number}", rows=2 if number else 40))
    found = ingest(project)
    assert (found.rows, found.removed) == (48, 1)
    snapshots = project.rows("SELECT count(*) AS n FROM lake.snapshots() WHERE commit_message = 'loans/prediction_log'")
    assert snapshots[0]["n"] > 2


def test_the_segment_of_this_hour_stays(project: Project) -> None:
    now = dt.datetime.now(dt.UTC)
    with server(project, at=now) as write:
        write(answered("r1", at=now))
    assert ingest(project, now.strftime("%Y-%m-%dT%H")).removed == 0
    assert len(files(project)) == 1


def test_shipped_segments_are_read_once_also_where_one_comes_again(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server that was killed after a put puts the segment again; meanwhile it may have been read and removed."""
    store = UrlArtifacts(f"file://{tmp_path}/elsewhere", tmp_path / "cache")
    monkeypatch.setattr(Paths, "shipped_log", store)
    with server(project) as write:
        write(answered("r1"))
    copy = files(project)[0].read_bytes()
    name = str(files(project)[0].relative_to(project.paths.serving))
    assert ingest(project).rows == 0, "it is still on its way"
    assert ship(project.paths.serving, store) == 1
    requests, cursor, _ = tick(project, None)
    assert hours_of(requests) == [HOUR]
    found = ingest(project)
    assert (found.rows, found.removed) == (2, 1)
    with store.put(name) as again:
        again.write_bytes(copy)
    assert tick(project, cursor)[0] == []
    found = ingest(project)
    assert (found.rows, found.removed) == (0, 1)
    assert logged(project) == both("r1")
    assert not any(file.is_file() for file in (tmp_path / "elsewhere").rglob("*"))


def tick(project: Project, cursor: str | None) -> tuple[list[dg.RunRequest], str | None, str]:
    result = project.tick("loans_prediction_log", cursor)
    if isinstance(result, dg.SkipReason):
        return [], cursor, result.skip_message or ""
    for request in result.dynamic_partitions_requests or ():
        project.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return list(result.run_requests or ()), result.cursor, ""


def hours_of(requests: Sequence[dg.RunRequest]) -> list[str]:
    return [request.tags["ml_assets/batches"] for request in requests]


def test_the_sensor_starts_one_run_for_the_hours_that_have_grown(project: Project) -> None:
    later = NINE + dt.timedelta(hours=1)
    requests, cursor, _ = tick(project, None)
    assert requests == []
    with server(project) as write, server(project, "b", at=later) as other:
        write(answered("r1"))
        other(answered("r2"))
        (request,), cursor, _ = tick(project, cursor)
        assert hours_of([request]) == ["2026-01-02T09, 2026-01-02T10"]
        assert project.instance.get_dynamic_partitions("loans_hours") == ["2026-01-02T09", "2026-01-02T10"]
        assert tick(project, cursor)[0] == []
        other(answered("r3"))
        (again,), cursor, _ = tick(project, cursor)
        assert hours_of([again]) == ["2026-01-02T10"]
        assert again.run_key != request.run_key


def test_an_hour_whose_run_was_lost_is_requested_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(project) as write:
        write(answered("r1"))
    (request,), cursor, _ = tick(project, None)
    monkeypatch.setattr("ml_assets.graph.run_requests.WAIT_S", 0)
    (again,), cursor, _ = tick(project, cursor)
    assert again.run_key != request.run_key
    assert "shows no result" in again.tags["ml_assets/why"]
    ingest(project)
    assert tick(project, cursor)[0] == []


def test_the_sensor_waits_for_the_run_before(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(project) as write:
        write(answered("r1"))
    monkeypatch.setattr(project.instance, "get_runs", lambda *_, **__: ["one"])
    requests, _, why = tick(project, None)
    assert (requests, why) == ([], "the run before is under way")
    assert log_sensors.INTERVAL_S >= 60


def test_the_sensors_run_reads_the_log(project: Project) -> None:
    with server(project) as write:
        write(answered("r1"))
    (request,), _, _ = tick(project, None)
    job = project.defs().resolve_job_def("loans_prediction_log")
    result = job.execute_in_process(instance=project.instance, tags=request.tags, raise_on_error=False)
    assert result.success, failure_text(result)
    assert logged(project) == both("r1")


def test_without_a_log_there_is_none_of_it(project: Project) -> None:
    project.spec_dict["serving"] = {"log": None}
    defs = project.defs()
    assert "loans_prediction_log" not in {sensor.name for sensor in defs.sensors or ()}
    assert not any("prediction_log" in key.path[-1] for key in defs.resolve_asset_graph().get_all_asset_keys())


SECOND = dt.date(2026, 1, 2)


def test_forgetting_leaves_what_is_newer(project: Project) -> None:
    for day, name in ((1, 9), (2, 10)):  # whole days are forgotten
        with server(project, at=NINE.replace(day=day)) as write:
            write(answered(f"r{name}"), feedback(f"f{name}", {"id": f"r{name}", "values": {}}))
        ingest(project, f"2026-01-{day:02}T09")
    with Lake(project.paths.lake) as lake:
        tables.forget(lake, "loans", (dt.datetime.now(dt.UTC).date() - SECOND).days, BY)
    assert logged(project) == both("r10")
    assert project.value("SELECT list(feedback_id) FROM {p}.feedback") == ["f10"]
