"""`ml-assets list`: pipelines, batches, versions; at 80 columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ml_assets.cli import main
from ml_assets_tests.conftest import Project


def listed(*words: str) -> list[dict[str, object]]:
    shown = CliRunner().invoke(main, ["list", *words, "--json"])
    assert shown.exit_code == 0, shown.output
    return list(json.loads(shown.stdout))


def test_pipelines(trained: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.root)
    (one,) = listed()
    assert (one["pipeline"], one["champion"], one["batches"], one["newest_batch"]) == ("loans", "1.0.0", 5, "5")
    assert one["metric"] == "roc_auc"
    shown = CliRunner().invoke(main, ["list"])
    assert shown.output.split("\n")[0].split() == ["pipeline", "champion", "test", "live", "batches", "newest", "state"]
    assert str(one["state"]) in shown.output


def test_batches_newest_first(trained: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.root)
    rows = listed("loans", "--limit", "2")
    assert [(row["batch"], row["state"], row["model_version"]) for row in rows] == [
        ("5", "scored", "1.0.0"),
        ("4", "ingested", None),
    ]
    assert rows[0]["rows"] == 150
    assert rows[0]["drifted"] is not None
    assert "150" in CliRunner().invoke(main, ["list", "loans", "batches"]).output


def test_versions(trained: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.root)
    assert [row["version"] for row in listed("loans", "versions")] == ["1.0.0"]
    wrong = CliRunner().invoke(main, ["list", "loan"])
    assert (wrong.exit_code, "did you mean 'loans'?" in wrong.output) == (1, True)


def test_a_pipeline_that_has_not_run(
    tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_project(tmp_path))
    (one,) = listed()
    assert (one["pipeline"], one["state"], one["champion"]) == ("loans", "not run yet", None)
    assert "not run yet" in CliRunner().invoke(main, ["list"]).output


@pytest.mark.parametrize(
    "command", [["list"], ["run", "loans"], ["train", "loans"], ["ui", "--port", "40001"], ["status"]]
)
def test_a_folder_without_a_project_is_named_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(main, command)
    assert shown.exit_code == 1
    assert "no pyproject.toml" in shown.output
    assert "next:  Go to the project" in shown.output
    assert list(tmp_path.iterdir()) == []
