"""`ml-assets retraining`: what a person sees of the decisions about trainings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ml_assets.cli import main
from ml_assets.cli.group import console
from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables import retrain_events
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.retrain_events import Event
from ml_assets.tables.versions import VERSIONS


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline `t` that waited, then asked for a training that has begun; a pipeline `u` without any decision."""
    (tmp_path / "pyproject.toml").touch()
    facts = {"snapshot": 3, "facts": [{"trigger": "drift", "key": "drift 5 1.0.0", "measure": 0.6}]}
    waited = Event("drift", "wait", "0 of 1 new batches", "sensor t_retrain", ["5"], "1.0.0", facts)
    trained = Event("drift, decay", "train", "batch 6 has drifted", "sensor t_retrain", ["5", "6"], run_key="k")
    with Lake(tmp_path / "data/lake") as lake:
        commit = Commit("t/retrain_events", "run-of-a-training")
        retrain_events.record(lake, "t", [waited], commit)
        retrain_events.record(lake, "t", [trained], commit)
        retrain_events.started(lake, "t", trained.tags(), commit)
        lake.append([VERSIONS.rows("u", [])], commit)
        for pipeline in ("t", "u"):
            lake.append([ARRIVALS.rows(pipeline, [])], commit)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "width", 160)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["retraining", *arguments])


@pytest.mark.usefixtures("project")
def test_the_newest_decision_comes_first() -> None:
    first, second = json.loads(run("t", "--json").output)
    assert set(first) == {
        *("trigger", "decision", "why", "triggered_by", "batches", "champion", "evidence", "run_key", "run_id"),
        *("event_id", "decided_at"),
    }
    assert (first["decision"], first["trigger"], first["run_id"]) == ("train", "drift, decay", "run-of-a-training")
    assert (second["decision"], second["batches"], second["evidence"]["facts"][0]["measure"]) == ("wait", ["5"], 0.6)
    assert [one["decision"] for one in json.loads(run("t", "--limit", "1", "--json").output)] == ["train"]


@pytest.mark.usefixtures("project")
def test_the_table_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    shown = run("t").output
    for text in ("drift, decay", "5, 6", "batch 6 has drifted", "run-of-a", "wait", "0 of 1 new batches", "1.0.0"):
        assert text in shown
    assert run("u").output == "Nothing has been decided about trainings of u yet.\n"


@pytest.mark.usefixtures("project")
def test_a_wrong_name_is_told_the_nearest() -> None:
    result = run("tt")
    assert result.exit_code == 1
    assert "did you mean 't'?" in result.output
