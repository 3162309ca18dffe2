"""A code version changes with what is computed, and with nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ml_assets.graph import code_version as module
from ml_assets.graph.code_version import code_version, parsed
from ml_assets_tests.conftest import Project

PACKAGE = {
    "__init__": "",
    "models": "from sklearn.tree import DecisionTreeClassifier\nfrom .helpers import depth\n"
    "class Tree(DecisionTreeClassifier):\n    limit = depth()\n",
    "helpers": "def depth():\n    return 3\n",
    "stranger": "x = 1\n",
}


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Version of a module of a temporary package, some of whose files are changed."""

    def version_(**changes: str) -> str:
        write(tmp_path, {**PACKAGE, **changes})
        return code_version("own_code.models")

    monkeypatch.syspath_prepend(tmp_path)
    return version_


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        file = folder / "own_code" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    for cached in vars(module).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()


def test_a_helper_that_a_module_imports_counts(version: Callable[..., str]) -> None:
    assert version() != version(helpers="def depth():\n    return 4\n")


@pytest.mark.parametrize(
    "changes",
    [
        {"helpers": '"""Says how deep."""\n\ndef depth():  # three levels\n\n    return 3\n'},
        {"stranger": "x = 2\n"},
    ],
    ids=["comments, docstrings and layout", "a module that is not imported"],
)
def test_what_changes_nothing_does_not_count(version: Callable[..., str], changes: dict[str, str]) -> None:
    assert version() == version(**changes)


def test_comments_and_layout_of_sql_do_not_count() -> None:
    plain = "SELECT row_id, a + 1.5 AS b FROM batch WHERE note <> '--'"
    same = "-- why\nselect row_id,\n  a+1.5 as b -- more\nfrom batch /* all */ where note <> '--'\n"
    assert parsed(same) == parsed(plain)
    for other in (plain.replace("1.5", "1.6"), plain.replace("'--'", "'-- '"), plain.replace(" b ", " c ")):
        assert parsed(other) != parsed(plain)


def test_an_own_estimator_counts_for_its_candidate_and_the_model(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    project.spec_dict = copy.deepcopy(project.spec_dict)
    project.spec_dict["candidates"]["tree"]["estimator"] = "own_code.models.Tree"
    made = []
    for depth in ("3", "4"):
        write(tmp_path, {**PACKAGE, "helpers": f"def depth():\n    return {depth}\n"})
        specs = project.defs().resolve_all_asset_specs()
        made.append({spec.key.path[-1]: spec.code_version for spec in specs})
    assert {asset_name for asset_name in made[0] if made[0][asset_name] != made[1][asset_name]} == {
        "candidate_tree",
        "trained_model",
    }
