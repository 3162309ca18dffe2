"""Every sensor follows one policy: it skips a tick with the reason, keeps its cursor, and goes on where it was."""

from __future__ import annotations

import ast
import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

import ml_assets.graph
from ml_assets.errors import LakeBusy
from ml_assets.graph import run_requests
from ml_assets.graph.sensor_memory import Memory
from ml_assets.lake.lake import Commit, Lake, Put, Rows
from ml_assets.tables import arrivals, deployments, ingest_errors, training_sets, versions
from ml_assets.tables.ingest_errors import FailedIngest
from ml_assets.tables.training_sets import Pin
from ml_assets_tests.conftest import Project, loans
from ml_assets_tests.graph.scoring.test_prediction_log import answered, server

SENSORS = ("new_data", "outcomes", "stale", "retrain", "release", "alerts", "prediction_log")
# What a sensor requests of the lake that `busy_project` makes: tags of its run.
TAGS = {
    "new_data": {
        "dagster/asset_partition_range_start": "9",
        "dagster/asset_partition_range_end": "9",
        "ml_assets/batches": "9",
    },
    "outcomes": {},
    "stale": {
        "dagster/asset_partition_range_start": "1",
        "dagster/asset_partition_range_end": "1",
        "ml_assets/batches": "1",
    },
    "retrain": {"ml_assets/retrain": "drift", "ml_assets/batches": "3"},
    "release": {"ml_assets/version": "1.0.0", "ml_assets/why": "all gates passed"},
    "prediction_log": {
        "dagster/asset_partition_range_start": "2026-01-02T09",
        "dagster/asset_partition_range_end": "2026-01-02T09",
        "ml_assets/batches": "2026-01-02T09",
    },
}
NOTHING_NEW = {
    "new_data": "2 files, none new or changed: 1 vanished",
    "outcomes": "no outcome changes a live score",
    "stale": "code and lake are unchanged since the last check",
    "retrain": "nothing has changed since the last check",
    "release": "the lake is unchanged since the last check",
    "alerts": "nothing new to notify of",
    "prediction_log": "1 segment, nothing new",
}
NO_LAKE = {
    "new_data": "0 files, none new or changed",
    "outcomes": "0 files, none new or changed",
    "prediction_log": "0 segments, nothing new",
}


def put(lake: Lake, name: str, batch: str, columns: str, code: str = "v") -> None:
    source = f"(SELECT '{batch}' AS batch, range AS row_id, {columns} FROM range(150))"
    lake.replace([Put(f"loans.{name}", source, batch)], Commit(f"loans/{name}", "run", code, batch))


@pytest.fixture
def bare(project: Project) -> Project:
    """A project without a lake and without files, with a folder of outcomes."""
    project.spec_dict["outcomes"] = {"path": "data/outcomes", "pattern": r"paid_(?P<batch>\d+)\.csv"}
    project.spec_dict["outcomes"]["settle_seconds"] = 0
    (project.root / "data/outcomes").mkdir()
    return project


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake, written by hand, in which every sensor finds something to do."""
    folder = tmp_path_factory.mktemp("written") / "lake"
    with Lake(folder) as lake:
        path = str(folder / "loans_1.parquet")
        seen = {"path": path, "batch": "1", "sha256": "s", "status": "ready", "size_bytes": 1}
        seen |= dict.fromkeys(("modified_at", "seen_at"), dt.datetime(2024, 5, 1))
        lake.replace([arrivals.put(lake, "loans", [arrivals.Arrival(**seen)])], Commit("loans/arrivals"))
        put(lake, "raw_data", "1", "'s' AS source_sha256")
        for batch in "123":
            put(lake, "validated_data", batch, "12.0::DOUBLE AS late_days")
            put(lake, "features", batch, "1.0::DOUBLE AS income")
        batches = {part: ["1", "2"] for part in ("train", "validation", "test")}
        pin = Pin("pin", 1, batches, dict.fromkeys(batches, 100), {"income": "number"}, "late_days > 10", {}, 0)
        training_sets.save(lake, "loans", pin, Commit("loans/training_set", "run"))
        versions.register(lake, "loans", {"version": "1.0.0", "pin_id": "pin"}, Commit("loans/trained_model"))
        moved = versions.alias_event("loans", "champion", "1.0.0", "all gates passed", "me", "")
        lake.append([moved], Commit("loans/champion"))
        drift = {"batch": "3", "model_version": "1.0.0", "drifted": True, "share": 0.6, "share_limit": 0.5}
        types = {"batch": "VARCHAR", "model_version": "VARCHAR", "drifted": "BOOLEAN"}
        types |= dict.fromkeys(("share", "weighted_share", "share_limit"), "DOUBLE")
        lake.append([Rows("loans.drift_report", types, [drift])], Commit("loans/drift_report"))
        ingest_errors.record(lake, "loans", [FailedIngest("too few rows", "7")], Commit("loans/raw_data", "run"))
    return folder


@pytest.fixture
def active(bare: Project, written: Path) -> Project:
    """A project with a copy of that lake, and with files that it has not seen."""
    project = bare
    shutil.copytree(written, project.paths.lake)
    project.write(9)
    with server(project) as write_log:
        write_log(answered("r1"))
    loans(2, 3)[["loan", "late_days"]].to_csv(project.root / "data/outcomes/paid_2.csv", index=False)
    project.instance.add_dynamic_partitions("loans_batches", ["1", "2", "3"])
    return project


def tick(project: Project, name: str, cursor: str | None = None) -> Any:
    return project.tick(f"loans_{name}", cursor)


def reason(result: Any) -> str:
    """Why a tick was skipped, with the cursor as it was."""
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def acted(project: Project, name: str, result: Any) -> bool:
    """Did the sensor do what it is for?"""
    if name == "alerts":
        return bool(project.value("SELECT count(*) FROM {p}.alerts WHERE subject = '7'"))
    assert TAGS[name].items() <= result.run_requests[0].tags.items()
    return bool(result.run_requests[0].run_key)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


BUSY = {
    "ours": LakeBusy("Another process has been writing to the lake for 15 s."),
    "raw": duckdb.TransactionException("database is locked"),
}


@pytest.mark.parametrize("kind", BUSY)
@pytest.mark.parametrize("name", SENSORS)
def test_a_busy_lake_is_tried_again_at_the_next_tick(
    active: Project, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "con", property(raising(BUSY[kind])))
        said = reason(tick(active, name))
    assert said.startswith("the lake is busy; the next tick tries again: ")
    assert str(BUSY[kind]) in said
    assert acted(active, name, tick(active, name))


@pytest.mark.parametrize("damage", ["not a database", "lost", "raw error"])
@pytest.mark.parametrize("name", SENSORS)
def test_a_damaged_lake_is_named_and_the_tick_is_skipped(
    active: Project, monkeypatch: pytest.MonkeyPatch, name: str, damage: str
) -> None:
    catalog, copy = active.paths.lake / "catalog.sqlite", active.root / "copy"
    shutil.copy(catalog, copy)
    with monkeypatch.context() as patched:
        if damage == "raw error":
            patched.setattr(Lake, "con", property(raising(duckdb.IOException("disk I/O error"))))
        elif damage == "lost":
            catalog.unlink()
        else:
            catalog.write_bytes(b"no database" * 1000)
        said = reason(tick(active, name))
    assert said.startswith("cannot check until this is fixed: ")
    assert "  next:  " in said
    assert "Traceback" not in said
    shutil.copy(copy, catalog)
    assert acted(active, name, tick(active, name))


@pytest.mark.parametrize("name", SENSORS)
def test_without_a_lake_a_sensor_skips(bare: Project, name: str) -> None:
    result = tick(bare, name)
    assert not getattr(result, "run_requests", None)
    skip = result if isinstance(result, dg.SkipReason) else result.skip_reason
    assert NO_LAKE.get(name, "nothing has been ingested yet") in str(skip.skip_message)
    assert not bare.paths.lake.exists()


@pytest.mark.parametrize("name", SENSORS)
def test_a_sensor_acts_once_and_says_why_it_has_nothing_to_do(active: Project, name: str) -> None:
    first = tick(active, name)
    assert acted(active, name, first)
    assert len(first.cursor) == 64  # Dagster stores it with every tick
    second = tick(active, name, first.cursor)
    skip = second if isinstance(second, dg.SkipReason) else second.skip_reason
    assert not getattr(second, "run_requests", None)
    assert NOTHING_NEW[name] in str(skip.skip_message)


def earlier(project: Project, name: str, cursor: str) -> str:
    """The cursor as earlier versions wrote it: the text itself, with other words."""
    memory = Memory(project.paths.sensors / f"loans_{name}")
    text = memory.read(cursor) or ""
    if name in ("new_data", "prediction_log"):
        return text
    seen = json.loads(text)
    if name == "outcomes":  # they kept the files in the memory, and all else in the cursor
        seen["files"] = memory.write(seen["files"], cursor)
    return json.dumps({"asked" if word == "requested" else word: value for word, value in seen.items()})


@pytest.mark.parametrize("name", SENSORS)
def test_the_cursor_of_an_earlier_version_is_read(active: Project, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It knows what was done, and what was requested without a result, which is requested again."""
    cursor = earlier(active, name, tick(active, name).cursor)
    moment = run_requests.now() + run_requests.WAIT_S
    monkeypatch.setattr(run_requests, "now", lambda: moment)
    result = tick(active, name, cursor)
    if name in ("retrain", "alerts"):
        assert not getattr(result, "run_requests", None)
        assert NOTHING_NEW[name] in str(getattr(result, "skip_reason", result).skip_message)
    else:
        assert result.run_requests
        assert all("no result of request 1" in again.tags["ml_assets/why"] for again in result.run_requests)


def test_every_sensor_is_tested_here(bare: Project) -> None:
    """Or, where it needs a server's log to act, with that log: test_online_sensors.py."""
    tested = {f"loans_{name}" for name in (*SENSORS, "online_batches")}
    assert {sensor.name for sensor in bare.defs().sensors or ()} == tested


@pytest.mark.parametrize("kind", BUSY)
def test_a_sensor_without_a_log_says_that_a_lake_is_busy(
    active: Project, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(Lake, "con", property(raising(BUSY[kind])))
    assert reason(tick(active, "online_batches")).startswith("the lake is busy; the next tick tries again: ")


def test_a_bug_fails_the_tick(active: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments, "moves", raising(KeyError("alias")))
    with pytest.raises(KeyError):
        tick(active, "release")


def test_no_sensor_knows_how_the_lake_is_kept() -> None:
    """Opening the lake, its errors and its catalog are the kit's."""
    for file in Path(ml_assets.graph.__file__).parent.glob("*/*sensors.py"):
        tree = ast.walk(ast.parse(file.read_text()))
        imported = {node.module for node in tree if isinstance(node, ast.ImportFrom)}
        imported |= {name.name for node in tree if isinstance(node, ast.Import) for name in node.names}
        assert not imported & {"duckdb", "sqlite3", "ml_assets.lake.sqlite", "ml_assets.errors"}, file
