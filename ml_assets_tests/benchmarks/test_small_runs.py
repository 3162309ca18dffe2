"""Benchmarks on a few rows, so that they cannot rot: their commands run in this process instead of their own.

Whether a goal is met says nothing about so few rows, and is not looked at.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import drift, flights, ingest, load, pages, scan, search, serve, skeleton, soak
from benchmarks.cost import Cost
from ml_assets_tests.conftest import Project
from ml_assets_tests.server.test_follow import add_version

COST = Cost(wall_s=1.0, cpu_s=1.0, peak_mib=100.0, others_s=0.0)


def here(command: list[str], folder: Path, environment: dict[str, str]) -> Cost:
    """Run a command as `measured` does, in this process."""
    from dagster._cli import create_dagster_cli

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        for name in ("DAGSTER_HOME", "ML_ASSETS_DATA", "ML_ASSETS_MEMORY_LIMIT"):
            patch.delenv(name, raising=False)
            if name in environment:
                patch.setenv(name, environment[name])
        for name in [name for name in sys.modules if name.partition(".")[0] == skeleton.MODULE]:
            del sys.modules[name]
        if command[1:3] == ["-m", "dagster"]:
            create_dagster_cli().main(command[3:], standalone_mode=False)
        else:
            patch.setattr(sys, "argv", command[1:])
            with contextlib.suppress(SystemExit):
                runpy.run_path(command[1], run_name="__main__")
    return COST


def called(function: Any, *arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (drift, ingest, search):
        monkeypatch.setattr(module, "in_other_process", called)
    for module in (skeleton, ingest):
        monkeypatch.setattr(module, "measured", here)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # put back what a benchmark sets
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == skeleton.MODULE]:
        del sys.modules[name]


def run(module: Any, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    return int(module.main())


def test_ingest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ingest, "SMALL_ROWS", 300)
    run(ingest, monkeypatch, "--rows", "900", "--rounds", "1", "--batches", "2")
    out = capsys.readouterr().out
    assert "the same rows: raw_data 900, " in out
    assert "NOT the same" not in out
    assert "2 batches of 300 rows" in out


def test_scan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(scan, monkeypatch, "--files", "20")
    assert capsys.readouterr().out.count("a check of 20 known files") == scan.LOOKS


def test_search(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(search.CANDIDATES["boosting"], "params", {"max_iter": 5})
    run(search, monkeypatch, "--rows", "400", "--trials", "2", "--rounds", "1", "--memory-rows", "0")
    assert capsys.readouterr().out.count("the same scores: True") == 2


def test_drift(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(drift, "SMALL_ROWS", 1500)
    assert run(drift, monkeypatch, "--rows", "2000", "--columns", "5") == 0
    out = capsys.readouterr().out
    assert "6 columns in the table" in out
    assert '"Drift: ' in out


def test_serve(trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(load, "client", lambda: "ours")
    monkeypatch.setattr(serve, "WARM_UP_S", 0.1)
    release = trained.paths.releases / "loans" / "1.0.0"
    options = ["--seconds", "0.2", "--rounds", "1", "--connections", "1", "4", "--without", "mlflow", "bentoml"]
    assert run(serve, monkeypatch, "--release", str(release), *options) == 0
    out = capsys.readouterr().out
    assert "loans 1.0.0, one row a request" in out
    (line,) = [line for line in out.splitlines() if line.startswith("| ml_assets, each answer logged")]
    assert line.endswith("| 0 |"), "no request failed"


def test_the_client_sees_every_response_and_what_fails() -> None:
    bodies = load.as_bodies([{"rows": [number]} for number in range(3)])
    seen = load.ceiling(bodies, 4, 0.1, load.ours)
    assert seen.requests > 50
    assert seen.failed == 0
    assert 0 < seen.p50_ms <= seen.p99_ms < 1000
    with load.bare_server() as port:
        pass
    with pytest.raises(OSError, match="onnect"):
        load.ours(port, "/", bodies, 1, 0.1)


def test_soak(
    trained: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = soak.declared(trained, tmp_path)
    add_version(paths, soak.VERSIONS[1], threshold=0.5)
    assert soak.run(paths, tmp_path, minutes=0.05, probe_s=0.3) == 0
    table = dict(line[2:-2].split(" | ") for line in capsys.readouterr().out.splitlines()[2:])
    assert table["workers killed"] == "2"
    assert int(table["swaps of the champion"]) >= 1
    assert int(table["outcomes taken"]) > 0
    assert table["rows of answered requests that are not in the lake"] == "0"
    assert table["rows and outcomes that are there twice"] == "0"


def test_a_soak_that_lost_something_fails(capsys: pytest.CaptureFixture[str]) -> None:
    seen = soak.Seen({"a": "1.0.0", "b": "1.0.0"}, {"a"}, [1.0, 2.0])
    whole = soak.Logged(soak.Counter("ab"), soak.Counter("a"))
    assert soak.report(seen, whole, 1, [1.0, 1.0], 1.0) == 0
    for logged in (
        soak.Logged(soak.Counter("a"), soak.Counter("a")),
        soak.Logged(soak.Counter("abb"), soak.Counter("a")),
        soak.Logged(soak.Counter("ab"), soak.Counter()),
    ):
        assert soak.report(seen, logged, 1, [1.0, 1.0], 1.0) == 1


def test_a_server_that_is_measured_ends_with_what_has_left_its_group() -> None:
    code = """import subprocess, sys
child = subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()"""
    started = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    left = psutil.Process(int(started.stdout.readline()))
    serve.end(started)
    started.communicate()
    assert left.wait(5) is None
    assert started.returncode == -signal.SIGKILL


def test_pages(tmp_path: Path) -> None:
    """A server takes as long as its imports, twice."""
    found = pages.measure(tmp_path, pipelines=2, batches=2)
    assert found["first page after a start"] < 5
    assert found["a page, nothing changed"] < 1


def test_the_flights_job_is_one_run_over_its_months() -> None:
    import dagster as dg

    from ml_assets.definitions import defs

    graph = defs.resolve_asset_graph()
    selected = dg.AssetSelection.from_string(flights.SELECTED).resolve(graph)
    left_out = {key.path[-1] for key in graph.get_all_asset_keys() - selected}
    assert left_out == {"prediction_log", "online_report"}
    assert len({graph.get(key).partitions_def for key in selected} - {None}) == 1
