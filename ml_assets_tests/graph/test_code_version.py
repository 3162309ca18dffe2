"""A code version changes with what is computed, and with nothing else."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

import ml_assets
from ml_assets.graph import code_version as module
from ml_assets.graph.code_version import code_version, parsed
from ml_assets.graph.source_code import understood
from ml_assets_tests.conftest import Project, loans
from ml_assets_tests.graph.staleness.conftest import not_fresh

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
        return code_version(["own_code.models"])

    monkeypatch.syspath_prepend(tmp_path)
    return version_


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        file = folder / "own_code" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    for cached in list(vars(module).values()):
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


def test_what_errors_and_logs_say_does_not_count_but_that_they_are_raised_does(version: Callable[..., str]) -> None:
    refusing = "import logging\n\ndef depth(of=3):\n    if of > 9:\n        {}\n    return of\n"
    plain = version(helpers=refusing.format('raise ValueError("too deep")'))
    assert version(helpers=refusing.format("raise ValueError(f'{of} is deeper than 9')")) == plain
    assert version(helpers=refusing.format("pass")) != plain
    logging = version(helpers=refusing.format('logging.warning("deep")'))
    assert version(helpers=refusing.format('logging.info("%s is deep", of)')) == logging


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
        code_location = Project(project.root, project.instance, project.spec_dict)  # a process that starts
        specs = code_location.defs().resolve_all_asset_specs()
        made.append({spec.key.path[-1]: spec.code_version for spec in specs})
    assert {asset_name for asset_name in made[0] if made[0][asset_name] != made[1][asset_name]} == {
        "candidate_tree",
        "trained_model",
    }


PACKAGE_FOLDER = Path(ml_assets.__file__).parent


def code_versions(project: Project) -> dict[str, str]:
    """Asset name -> its code version."""
    for cached in list(vars(module).values()):
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()
    specs = replace(project, _built=None).defs().resolve_all_asset_specs()
    return {spec.key.path[-1]: spec.code_version or "" for spec in specs}


@pytest.fixture
def changed_by(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], set[str]]:
    """Names of the assets whose version changes where a file of the package reads otherwise."""
    before = code_versions(project)

    def changed(file: str, was: str, becomes: str) -> set[str]:
        path = PACKAGE_FOLDER / file
        text = path.read_text()
        assert was in text
        real = module._read.__wrapped__
        other = understood(text.replace(was, becomes, 1), str(path))
        monkeypatch.setattr(module, "_read", functools.cache(lambda one: other if one == path else real(one)))
        project._built = None  # the YAML is the same, the code is not
        after = code_versions(project)
        return {name for name in before if before[name] != after[name]}

    return changed


@pytest.mark.parametrize(
    ("file", "was", "becomes"),
    [
        ("spec/data.py", "Smallest allowed value.", "The least that is allowed."),
        ("spec/operation.py", "class Alerts(Strict):", "class Channel(Strict):\n    pass\n\n\nclass Alerts(Strict):"),
        ("reporting/plots.py", "\ndef ", "\nCOLOUR = 'teal'\n\n\ndef "),
        ("errors.py", "  next:  ", "  do:    "),
        ("graph/ingest/validation.py", "raise BatchRefused(", "raise BatchRefused('Another text: ' + "),
        ("graph/ingest/assets.py", "STAGE =", "EXTRA = 1\nSTAGE ="),
        ("graph/declare.py", "\ndef ", "\nEXTRA = 1\n\n\ndef "),
        ("lake/lake.py", "def append(", "def added(self): ...\n\n    def append("),
        ("lake/reader.py", "def snapshot(", "def newest(self): ...\n\n    def snapshot("),
        ("lake/frames.py", "\ndef ", "\nEXTRA = 1\n\n\ndef "),
        ("tables/versions.py", "\ndef ", "\nEXTRA = 1\n\n\ndef "),
        ("metrics/registry.py", "Share of right decisions.", "How often it is right."),
        ("ml/manifest.py", "\ndef ", "\nEXTRA = 1\n\n\ndef "),
    ],
)
def test_what_stores_declares_or_shows_rows_does_not_count(
    changed_by: Callable[[str, str, str], set[str]], file: str, was: str, becomes: str
) -> None:
    assert changed_by(file, was, becomes) == set()


RELEASED = {"evaluation_report", "release_candidate", "champion", "predictions", "drift_report"}
MODEL = {"candidate_tree", "candidate_linear", "trained_model", *RELEASED, "performance_report", "online_report"}


@pytest.mark.parametrize(
    ("file", "counts_for"),
    [
        ("graph/ingest/validation.py", {"validated_data", "quarantine"}),
        ("graph/ingest/rows.py", {"arrivals", "raw_data"}),
        ("graph/features/select.py", {"features", "lookup_region_history", "online_lookups"}),
        ("graph/training/search.py", {"candidate_tree", "candidate_linear", "trained_model"}),
        ("graph/release/promotion/gates.py", {"release_candidate", "champion"}),
        ("graph/monitoring/performance.py", {"performance_report", "online_report"}),
        ("ml/estimators.py", MODEL),
        ("ml/preprocessing.py", MODEL),
        ("metrics/registry.py", MODEL - {"drift_report"}),
        ("server/features.py", {"release_candidate"}),
    ],
)
def test_a_change_of_logic_counts_for_what_it_computes(
    changed_by: Callable[[str, str, str], set[str]], file: str, counts_for: set[str]
) -> None:
    assert changed_by(file, "\ndef ", "\nEXTRA = 1\n\n\ndef ") == counts_for


def test_texts_of_the_yaml_do_not_count(project: Project) -> None:
    before = code_versions(project)
    project.spec_dict = copy.deepcopy(project.spec_dict)
    project.spec_dict["description"] = "Who pays late?"
    project.spec_dict["columns"][1] |= {"description": "What a customer earns.", "unit": "kEUR a year"}
    project.spec_dict["alerts"] = {"webhook": "https://chat.example/hook"}
    project.spec_dict["owners"] = ["team:loans"]
    assert code_versions(project) == before


def test_a_new_optional_field_counts_where_it_is_set() -> None:
    class Before(BaseModel):
        low: int | None = 1

    class After(Before):
        high: int | None = None

    def version(part: BaseModel) -> str:
        return code_version([], part)

    assert version(After()) == version(Before())
    assert len({version(one) for one in (After(), After(low=None), After(high=2), After(low=None, high=2))}) == 4


def test_a_raised_revision_is_another_version() -> None:
    logic = ["ml_assets.graph.ingest.validation"]
    assert code_version(logic, "x", revision=2) != code_version(logic, "x")


def test_what_an_earlier_scheme_has_made_is_not_made_again(project: Project) -> None:
    """An upgrade that computes the same re-ingests nothing."""
    assert not module.is_other_code("0123456789ab", "2.0123456789ab")
    assert module.is_other_code("2.ba9876543210", "2.0123456789ab")
    assert module.is_other_code("", "2.0123456789ab")
    project.write(1, loans(1, rows=40))
    real = module.SCHEME
    with pytest.MonkeyPatch.context() as earlier:
        earlier.setattr(module, "SCHEME", "")
        assert project.ingest("1").success
    assert real == module.SCHEME
    assert not [asset for asset, state in not_fresh(project).items() if state.startswith(("stale", "behind"))]
