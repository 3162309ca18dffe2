"""`ml-assets status`, and how it finds the project's definitions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ml_assets import loading
from ml_assets.broken import problems_of
from ml_assets.cli import main
from ml_assets.errors import MLAssetsError
from ml_assets.loading import definitions
from ml_assets_tests.conftest import Project
from ml_assets_tests.graph.staleness.conftest import variant


@pytest.fixture
def status(trained: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command in the trained project, under the definitions of a variant of it."""
    monkeypatch.chdir(trained.root)

    def status_(declared: Project, *arguments: str) -> Result:
        monkeypatch.setattr(loading, "definitions", lambda root: declared.defs())
        return CliRunner().invoke(main, ["status", *arguments])

    return status_


def test_a_fresh_project_has_nothing_to_say(trained: Project, status: Callable[..., Result]) -> None:
    shown = status(trained)
    assert shown.exit_code == 0
    assert "loans: 5 batches" in shown.output
    assert "->" not in shown.output


def test_what_is_stale_is_said_with_its_remedy(trained: Project, status: Callable[..., Result]) -> None:
    changed = variant(trained)
    changed.spec_dict["rules"]["paid_or_open"] = "late_days IS NULL OR late_days > 0"
    shown = status(changed, "loans")
    assert shown.exit_code == 0  # the sensor mends it
    lines = shown.output.splitlines()
    assert "stale quarantine, validated_data 1…5 (5): code -> sensor loans_stale" in lines
    assert "behind lookup_region_history 2…5 (4): validated_data will change -> sensor loans_stale" in lines
    assert lines[-1].startswith("behind training_set, candidate_linear, candidate_tree, trained_model, ")
    assert lines[-1].endswith(": what it was made from will change -> job loans_train")


def test_what_is_missing_fails_the_command(trained: Project, status: Callable[..., Result]) -> None:
    changed = variant(trained)
    changed.spec_dict["candidates"]["second_tree"] = changed.spec_dict["candidates"]["tree"]
    shown = status(changed, "--json")
    assert shown.exit_code == 1
    (missing,) = [one for one in json.loads(shown.output) if one["state"] == "missing"]
    assert list(missing) == ["asset", "batch", "state", "why", "of", "since", "redo", "todo"]
    assert missing["asset"] == "loans/candidate_second_tree"
    assert (missing["batch"], missing["todo"]) == (None, "job loans_train")


def test_before_anything_ran(project: Project, status: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    shown = status(project)
    assert shown.exit_code == 1
    assert "missing arrivals: never made -> sensor loans_new_data" in shown.output


def test_a_pipeline_that_is_not_there(trained: Project, status: Callable[..., Result]) -> None:
    shown = status(trained, "loan")
    assert shown.exit_code == 1
    assert "did you mean 'loans'?" in shown.output


@pytest.mark.parametrize(
    ("pyproject", "text", "said"),
    [
        (None, "", "There is no pyproject.toml here."),
        ("[project", "", "pyproject.toml cannot be parsed."),
        ("[project]", "", "pyproject.toml does not name the module"),
        ('[tool.dagster]\nmodule_name = "own_defs.nothing"', "", "No module named 'own_defs.nothing'"),
        ('[tool.dagster]\nmodule_name = "own_defs.defs"', "x = 1", "own_defs.defs holds no dagster.Definitions."),
        ('[tool.dagster]\nmodule_name = "own_defs.defs"', "1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_definitions_that_cannot_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pyproject: str | None, text: str, said: str
) -> None:
    (tmp_path / "own_defs").mkdir()
    (tmp_path / "own_defs" / "__init__.py").touch()
    (tmp_path / "own_defs" / "defs.py").write_text(text)
    if pyproject is not None:
        (tmp_path / "pyproject.toml").write_text(pyproject)
    forget("own_defs", monkeypatch)
    with pytest.raises(MLAssetsError, match=said.replace("(", ".")):
        definitions(tmp_path)


def test_definitions_of_a_project(
    tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_project(tmp_path)
    forget("credit", monkeypatch)
    assert {spec.key.path[0] for spec in definitions(root).resolve_all_asset_specs()} == {"loans"}
    forget("credit", monkeypatch)
    (root / "credit/defs/loans/features.sql").write_text("SELEC 1")
    assert "features.sql is not a SELECT that can be parsed" in problems_of(definitions(root))["loans"]
    forget("credit", monkeypatch)


def forget(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget a package of an earlier test, and leave sys.path as it was."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
