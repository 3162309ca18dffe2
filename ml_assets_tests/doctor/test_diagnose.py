"""The lake, the project and Dagster's instance, with each thing made wrong; what the command makes of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from ml_assets import loading
from ml_assets.cli import main
from ml_assets.doctor import diagnose, instance, project
from ml_assets.doctor.finding import Finding, ok, problem, warning
from ml_assets.doctor.lake import lake as check_lake
from ml_assets.home import prepare_home
from ml_assets.lake import published
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sqlite import SqliteCatalog
from ml_assets_tests.conftest import SPEC, Project


def bad(found: Iterator[Finding]) -> list[tuple[str, str, str]]:
    """Area, level and text with the fix of what is not ok."""
    return [(one.area, one.level, f"{one.text} -> {one.fix}") for one in found if one.level != "ok"]


# -- the lake -------------------------------------------------------------------------------------------------------


def test_a_lake_that_is_whole_and_one_that_is_damaged(copied: Project) -> None:
    paths, catalog = copied.paths, SqliteCatalog(copied.paths.lake)
    catalog.public.unlink(missing_ok=True)  # of the trained project, where its runs publish
    (unpublished,) = bad(check_lake(paths))
    assert "no copy of the catalog was published" in unpublished[2]
    published.publish(catalog.file, catalog.public)
    assert bad(check_lake(paths)) == []
    texts = [one.text for one in check_lake(paths)]
    assert "readers who may not write see the newest snapshot" in texts
    with contextlib.closing(sqlite3.connect(catalog.file)) as con:
        ((size,),) = con.execute("SELECT sum(file_size_bytes) FROM ducklake_data_file WHERE end_snapshot IS NULL")
    assert f"{size / 2**20:.1f} MiB of data" in texts[0]  # of the tables alone, wherever the files lie
    assert "champion 1.0.0: its release is the one" in "".join(one.text for one in check_lake(paths))
    lost = next((paths.lake / "data" / "loans" / "raw_data").rglob("*.parquet"))
    lost.unlink()
    released = next(paths.releases.rglob("model_card.md"))
    released.write_text("changed")
    found = bad(check_lake(paths))
    assert [(area, level) for area, level, _ in found] == [("loans", "problem")] * 2
    assert "is lost" in found[0][2]
    assert "the release of champion 1.0.0: A file of the release was changed." in found[1][2]


def test_a_project_without_a_lake_and_a_lake_without_its_catalog(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path / "data")
    assert [level for _, level, _ in bad(check_lake(paths))] == ["warning"]
    with Lake(paths.lake) as made:
        made.con.execute("SELECT 1")
    (paths.lake / "data" / "x.parquet").parent.mkdir(exist_ok=True)
    (paths.lake / "data" / "x.parquet").touch()
    (paths.lake / "catalog.sqlite").unlink()
    (found,) = [one for one in diagnose.diagnose(paths, 1) if one.area == "lake"]
    assert found.level == "problem"
    assert "lake recover" in str(found.fix)


# -- the project ----------------------------------------------------------------------------------------------------


def test_secrets_and_channels_of_the_yaml(
    tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = [
        {"name": "mail", "address": "{{ env.LOANS_MAIL }}", "severity": "warning"},
        {"name": "wrong", "address": "{{ env.LOANS_WRONG }}"},
        {"name": "unset", "address": "{{ env('LOANS_UNSET') }}"},
        {"name": "fallback", "address": "{{ env('LOANS_OTHER', 'json://127.0.0.1') }}"},
    ]
    root = write_project(tmp_path, {**SPEC, "alerts": {"webhook": "{{ env.LOANS_HOOK }}", "channels": channels}})
    monkeypatch.setenv("LOANS_MAIL", "mailto://user:passw0rd@example.org")
    monkeypatch.setenv("LOANS_WRONG", "nowhere://s3cret")
    monkeypatch.setenv("LOANS_UNSET", "")
    paths = Paths.of(root)
    missing = bad(project.variables(paths))
    assert [text.partition(" is ")[0] for _, _, text in missing] == ["LOANS_HOOK", "LOANS_UNSET"]
    found = list(project.channels(paths))
    assert [(one.level, one.text) for one in found] == [
        ("ok", "channel mail: E-Mail, warning and above"),
        ("problem", "channel wrong: Apprise knows no such address"),
        ("ok", "channel fallback: JSON, info and above"),
    ]
    assert not any(word in str(found) + str(missing) for word in ("s3cret", "passw0rd"))


def test_a_pipeline_that_cannot_be_loaded(copied: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "definitions", lambda _: copied.defs())
    found, sensors = project.sensors(copied.paths)
    assert [(one.level, one.text) for one in found] == [("ok", "loads: loans")]
    assert sensors["loans_alerts"] == 10


# -- Dagster's instance ---------------------------------------------------------------------------------------------

SENSORS = {"loans_new_data": 5, "loans_stale": 5, "loans_alerts": 5, "loans_retrain": 5}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    """A project with a home whose daemon has said nothing yet."""
    root = tmp_path_factory.mktemp("doctor")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        made = Paths(root, root / "data")
        prepare_home(made, str)
        yield made


@contextlib.contextmanager
def opened(paths: Paths) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(paths.data / "dagster")) as found:
        yield found


def beat(of: dg.DagsterInstance, ago_s: float, error: str = "") -> None:
    errors = [SerializableErrorInfo(error, [], "Error")] if error else []
    of.add_daemon_heartbeat(DaemonHeartbeat(time.time() - ago_s, "SENSOR", "an id", errors))


def add_sensor(
    of: dg.DagsterInstance, name: str, ticked_s_ago: float, status: InstigatorStatus, error: str = ""
) -> None:
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="credit"), location_name="credit")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), name)
    moment = time.time() - ticked_s_ago
    data = SensorInstigatorData(last_tick_timestamp=moment)
    of.add_instigator_state(
        InstigatorState(origin, dg._core.definitions.run_request.InstigatorType.SENSOR, status, data)
    )
    info = SerializableErrorInfo(error, [], "Error") if error else None
    of.create_tick(
        TickData(
            origin.get_id(),
            name,
            dg._core.definitions.run_request.InstigatorType.SENSOR,
            TickStatus.FAILURE if error else TickStatus.SKIPPED,
            moment,
            selector_id=origin.get_selector().get_id(),
            error=info,
        )
    )


def test_the_instance_from_never_run_to_down(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(instance.STUCK, "waits", dt.timedelta())
    assert [(area, level) for area, level, _ in bad(instance.instance(paths, SENSORS))] == [("daemon", "warning")]
    assert not instance.is_daemon_up(paths.data / "dagster")
    with opened(paths) as of:
        beat(of, 1, "the code server is gone\nat a line")
        add_sensor(of, "loans_new_data", 1, InstigatorStatus.DECLARED_IN_CODE)
        add_sensor(of, "loans_stale", 1, InstigatorStatus.STOPPED)
        add_sensor(
            of, "loans_alerts", 1, InstigatorStatus.DECLARED_IN_CODE, "RuntimeError: s3://key:w0rd@bucket is lost\n"
        )
        add_sensor(of, "loans_retrain", 600, InstigatorStatus.DECLARED_IN_CODE)

        @dg.op
        def broken() -> None:
            raise dg.Failure("it fails")

        @dg.job(name="loans_train")
        def made() -> None:
            broken()

        run_id = made.execute_in_process(instance=of, raise_on_error=False).run_id
        waits = dg.DagsterRun("loans_ingest", status=dg.DagsterRunStatus.NOT_STARTED)
        of.run_storage.add_run(waits)
    found = {text.partition(" -> ")[0]: level for _, level, text in bad(instance.instance(paths, SENSORS))}
    assert {text.partition(" by ")[0].partition(" since ")[0]: level for text, level in found.items()} == {
        "SENSOR fails: the code server is gone": "warning",
        "loans_stale is stopped": "warning",
        "the last tick of loans_alerts failed: RuntimeError: s3://bucket is lost": "problem",
        "loans_retrain is late": "warning",
        f"{waits.run_id} of loans_ingest waits": "warning",
        f"1 failed within a day, the newest {run_id} of loans_train": "warning",
    }
    with opened(paths) as of:
        beat(of, 3600)
    texts = [text for area, level, text in bad(instance.instance(paths, SENSORS)) if level == "problem"]
    assert any(text.startswith("it is down since ") and text.endswith(" -> ml-assets ui") for text in texts)
    assert not any("late" in text for _, _, text in bad(instance.instance(paths, SENSORS)))  # the daemon is down anyway


# -- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "code"), [([ok("a", "b")], 0), ([warning("a", "b", "c")], 0), ([problem("a", "b", "c")], 1)]
)
def test_the_command_exits_with_1_where_there_is_a_problem(
    found: list[Finding], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnose, "diagnose", lambda *_: iter(found))
    shown = CliRunner().invoke(main, ["doctor"])
    assert shown.exit_code == code
    assert shown.output.splitlines()[0].split() == [found[0].level, "a", "b"]
    assert ("-> c" in shown.output) == (found[0].fix is not None)
    shown = CliRunner().invoke(main, ["doctor", "--json"])
    assert shown.exit_code == code
    assert [set(row) for row in json.loads(shown.stdout)] == [{"area", "level", "text", "fix"}]


def test_a_check_that_cannot_be_made_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Iterator[Finding]:
        raise RuntimeError("of s3://key:w0rd@bucket/x")

    monkeypatch.setattr(diagnose.installation, "packages", broken)
    monkeypatch.setattr(diagnose, "lake", broken)
    found = list(diagnose.diagnose(Paths(tmp_path, tmp_path / "data"), 1))
    assert {one.area for one in found} > {"python", "packages", "duckdb", "disk", "lake", "alerts", "ui"}
    (of_packages,) = [one for one in found if one.area == "packages"]
    assert of_packages.text == "cannot be checked: RuntimeError: of s3://bucket/x"
