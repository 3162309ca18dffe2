"""Benchmarks on a few rows, so that they cannot rot: their commands run in this process instead of their own.

Whether a goal is met says nothing about so few rows, and is not looked at.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import drift, ingest, scan, search
from benchmarks.flights import Cost

PROJECT = "benchmark_project"
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
        for name in [name for name in sys.modules if name.partition(".")[0] == PROJECT]:
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
        monkeypatch.setattr(module, "measured", here)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # put back what a benchmark sets
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == PROJECT]:
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
