"""The demo on the real flights, cut to four months and small searches so that it takes seconds."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console

from ml_assets import dagster_commands, demo, demo_next
from ml_assets.cli import main
from ml_assets.errors import SourceError
from ml_assets.lake.database import in_memory
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.pipeline_summary import summarize
from ml_assets.tables.audit import last_writes
from ml_assets_tests.conftest import Project, failure_text

FLIGHTS = Path(demo.__file__).parent / "defs" / "flights"


class Flights(Project):
    """The shipped pipeline in a folder of the test."""

    def __post_init__(self) -> None:
        document = yaml.safe_load((FLIGHTS / "defs.yaml").read_text())
        self.spec_dict: dict[str, Any] = copy.deepcopy(document["attributes"])
        self.spec_dict["tuning"] = {"trials": 1, "folds": 2}
        self.spec_dict["candidates"]["boosting"]["params"]["max_iter"] = 20
        self.spec_dict["monitoring"] = {"sample": 3000}
        self.spec_dict["gates"]["serving"] = None
        self.sql = {file.name: file.read_text() for file in FLIGHTS.glob("*.sql")}
        (self.root / "pyproject.toml").touch()


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flights]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Flights(tmp_path_factory.mktemp("flights"), instance)
        demo.write_reference(made.paths)
        assert len(demo.write_months(made.paths, demo.BATCHES[:4])) == 4
        assert demo.write_months(made.paths, demo.BATCHES[:4]) == []
        months = demo.BATCHES[:3]
        for result in (made.ingest(*months), made.train(), made.ingest(demo.BATCHES[3]), made.watch(demo.BATCHES[3])):
            assert result.success, failure_text(result)
        yield made


def test_real_flights_reach_predictions_and_a_drift_report(flights: Flights) -> None:
    with Lake(flights.paths.lake, read_only=True) as lake:
        found = summarize(lake, "flights")
    assert found.rows["raw_data"] == 27_004 + 24_951 + 28_834 + 28_330
    assert found.rows["features"] == found.rows["raw_data"]
    assert found.rows["predictions"] == 28_330
    assert found.problems == []
    assert found.champion is not None
    assert found.test is not None
    assert found.test["value"] > 0.55  # better than chance on a month that it has not seen
    assert [row["batch"] for row in found.drift] == ["2013-04"]


def test_features_of_flights_hold_no_outcome(flights: Flights) -> None:
    (row,) = flights.rows("SELECT * FROM {p}.features LIMIT 1")
    assert not {"dep_delay", "arr_delay", "air_time", "dep_time", "arr_time", "late"} & set(row)


def test_the_weather_is_of_the_flights_own_hour(flights: Flights) -> None:
    matched = flights.value("SELECT count(temperature_f) / count(*) FROM {p}.features")
    assert matched > 0.95


def test_files_look_as_they_would_have_arrived(flights: Flights) -> None:
    from datetime import UTC, datetime

    file = flights.source / "flights_2013-02.parquet"
    assert datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat() == "2013-02-28"


def test_a_finished_demo_finds_everything_fresh_and_a_change_stale(
    flights: Flights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Freshness is told by code versions in the lake, so here the definitions are those that wrote it."""
    monkeypatch.setattr(demo, "definitions", lambda root: flights.defs())
    assert demo._to_do(flights.paths, demo.BATCHES[:3]) == list(demo.WATCHED)
    monkeypatch.setattr(demo, "FIRST", demo.BATCHES[:3])
    assert demo._to_do(flights.paths, demo.BATCHES[:3]) == []
    monkeypatch.setitem(flights.sql, "features.sql", flights.sql["features.sql"].replace("w.temp ", "w.temp + 1 "))
    assert demo._to_do(flights.paths, demo.BATCHES[:3]) == ["features", *demo.TRAINED]


def test_last_writes_name_run_and_code_version(flights: Flights) -> None:
    with Lake(flights.paths.lake, read_only=True) as lake:
        writes = last_writes(lake, "flights")
    write = writes[("flights/features", "2013-01")]
    assert len(write.run_id) == 36
    assert re.fullmatch(r"2\.[0-9a-f]{12}", write.code_version)
    assert ("flights/champion", None) in writes


@pytest.fixture
def later(flights: Flights, tmp_path: Path) -> Paths:
    """A year's files prepared, and December arrived."""
    paths = Paths(tmp_path, tmp_path / "data")
    shutil.copytree(flights.paths.data / "demo", paths.data / "demo")
    shutil.copytree(flights.paths.data / "reference", paths.data / "reference")
    demo.write_months(paths, ["2013-12"])
    return paths


def test_a_further_month_is_that_of_2013_with_its_dates_moved(later: Paths) -> None:
    first = demo_next.next_month(later)
    assert first.name == "flights_2014-01.parquet"
    with in_memory() as con:
        (moved,) = con.execute(
            "SELECT count(*), min(year), max(month), count(*) FILTER (time_hour IS NULL) FROM read_parquet(?)",
            [str(first)],
        ).fetchall()
        (met,) = con.execute(
            """SELECT count(w.temp) / count(*) FROM read_parquet(?) f
            LEFT JOIN read_parquet(?) w ON w.origin = f.origin AND w.time_hour = f.time_hour""",
            [str(first), str(later.data / "reference/weather.parquet")],
        ).fetchall()
    assert moved == (27_004, 2014, 1, 0)
    assert met[0] > 0.95
    again = first.read_bytes()
    first.unlink()
    assert demo_next.next_month(later).read_bytes() == again  # the weather that is there already is no second one
    assert demo_next.next_month(later).name == "flights_2014-02.parquet"


def test_a_drifted_month_has_lost_its_mornings(later: Paths) -> None:
    file = demo_next.next_month(later, drifted=True)
    with in_memory() as con:
        (share,) = con.execute("SELECT avg((hour < 13)::INT) FROM read_parquet(?)", [str(file)]).fetchall()[0]
        (before,) = con.execute(
            "SELECT avg((hour < 13)::INT) FROM read_parquet(?)", [str(later.data / "demo/flights_2013-01.parquet")]
        ).fetchall()[0]
    assert share < before / 2
    with pytest.raises(SourceError, match="Run `ml-assets demo` first"):
        demo_next.next_month(Paths(later.root / "empty", later.root / "empty"))


def test_a_month_of_2013_that_has_not_arrived_comes_as_it_was(later: Paths) -> None:
    (later.data / "incoming/flights/flights_2013-12.parquet").unlink()
    demo.write_months(later, ["2013-03"])
    file = demo_next.next_month(later)
    assert file.read_bytes() == (later.data / "demo/flights_2013-04.parquet").read_bytes()


def test_the_command_says_what_happens_next(later: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    (later.root / "pyproject.toml").touch()
    monkeypatch.chdir(later.root)
    shown = CliRunner().invoke(main, ["demo", "--drifted"]).output
    assert "arrived  data/incoming/flights/flights_2014-01.parquet" in shown
    assert "ml-assets run flights" in shown
    assert "found to have drifted" in shown


def test_a_failed_command_shows_its_error_and_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = Paths(tmp_path, tmp_path / "data")
    (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "ml_assets.definitions"\n')
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    assert not dagster_commands.materialize(paths, Console(), ["--select", "key:nothing"])
    shown = capsys.readouterr().out.replace("\n", " ")
    assert "failed; the whole log is" in shown
    assert "Dagster's home belongs to another copy of this project." in shown
    assert (tmp_path / "data/logs/materialize.log").stat().st_size > 0
