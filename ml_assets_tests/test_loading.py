"""Broken pipelines beside a good one: what loads, what is shown, what a check of the definitions says."""

from __future__ import annotations

import gc
import inspect
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._cli.definitions import definitions_validate_command_impl

import ml_assets
from ml_assets.broken import ENV_VALIDATE, notes_of, problems_of
from ml_assets.cli import main
from ml_assets.component import check, sql_texts
from ml_assets.errors import FeatureError
from ml_assets.project import declared, project_at
from ml_assets_tests.conftest import Project, failure_text

# Folder below defs/ -> what its defs.yaml says instead (None: a copy of `loans`, with this text in its name), and what
# the error says.
BROKEN: dict[str, tuple[Callable[[str], str], str]] = {
    "no_yaml": (lambda good: good + "\n  key: [loan\n", "cannot be parsed"),
    "tabs": (lambda good: good.replace("  rules:", "\trules:"), "Indent with spaces"),
    "not_utf8": (lambda good: good + "# \udcff", "not UTF-8"),
    "list": (lambda _: "- ml_assets.MLPipeline\n", "no mapping of keys"),
    "no_such_type": (lambda good: good.replace("MLPipeline", "MLPipelin"), "MLPipelin"),
    "unknown_top_key": (lambda good: good + "atributes: {}\n", "atributes"),
    "no_attributes": (lambda _: "type: ml_assets.MLPipeline\n", "The YAML has no attributes"),
    "unknown_key": (lambda good: good.replace("tuning:", "tunning:"), "unknown key 'tunning'; did you mean 'tuning'?"),
    "unset": (lambda good: good.replace("data/incoming/loans", "'{{ env.LOANS_NOT_SET }}'"), "environment variable"),
    "template": (lambda good: good.replace("data/incoming/loans", "'{{ nothing() }}'"), "nothing"),
    "wrong_parameter": (lambda good: good.replace("min_samples_leaf", "min_leaf"), "no parameter 'min_leaf'"),
    "wrong_rule": (lambda good: good.replace("late_days IS NULL", "late_day IS NULL"), "did you mean 'late_days'?"),
    "team/deep": (lambda good: good.replace("features.sql", "feature.sql"), "names a file that does not exist"),
    "namesake": (lambda good: good, "Two pipelines have the name 'loans'"),
}
HAS_LINE = set(BROKEN) - {"no_attributes"}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, write_project: Callable[..., Path]) -> Path:
    """A project of one good pipeline, `savings`, and one of each kind of a broken one."""
    root = write_project(tmp_path_factory.mktemp("broken"))
    folder = root / "credit/defs"
    good = (folder / "loans/defs.yaml").read_text()
    for name, (change, _) in BROKEN.items():
        shutil.copytree(folder / "loans", folder / name)
        text = good if name == "namesake" else good.replace("name: loans", f"name: {name.replace('/', '_')}")
        (folder / name / "defs.yaml").write_bytes(change(text).encode(errors="surrogateescape"))
    shutil.copytree(folder / "loans", folder / "savings")
    (folder / "savings/defs.yaml").write_text(good.replace("name: loans", "name: savings"))
    return root


@pytest.fixture
def imported(broken: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], dg.Definitions]]:
    """Import the definitions of the project anew."""

    def load() -> dg.Definitions:
        from importlib import import_module

        for name in [name for name in sys.modules if name.split(".")[0] == "credit"]:
            monkeypatch.delitem(sys.modules, name)
        found: dg.Definitions = import_module("credit.definitions").defs
        return found

    monkeypatch.syspath_prepend(broken)
    yield load
    for name in [name for name in sys.modules if name.split(".")[0] == "credit"]:
        del sys.modules[name]


def test_what_is_broken_says_so_and_the_others_load(
    imported: Callable[[], dg.Definitions], broken: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ml_assets"):
        defs = imported()
    problems = problems_of(defs)
    assert set(problems) == {*BROKEN, "loans"}
    for name, (_, text) in {**BROKEN, "loans": BROKEN["namesake"]}.items():
        assert text in problems[name], name
        if name in HAS_LINE:
            assert f"{broken}/credit/defs/{name}/defs.yaml" in problems[name], name
        assert f"The pipeline {name} is not loaded" in caplog.text
    graph = defs.resolve_asset_graph()
    assert {key.path[0] for key in graph.get_all_asset_keys()} == {
        *(name.split("/")[0] for name in BROKEN),
        "loans",
        "savings",
    }
    assert dg.AssetKey(["savings", "champion"]) in graph.get_all_asset_keys()
    assert {job.name for job in defs.jobs or ()} == {
        f"savings_{job}" for job in ("approve", "deploy", "ingest", "train", "maintenance", "prediction_log")
    }
    node = graph.get(dg.AssetKey(["team", "deep", "broken"]))
    assert node.group_name == "team_deep_broken"
    assert "names a file that does not exist" in (node.description or "")
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(asset_selection=[dg.AssetKey(["unknown_key", "broken"])], raise_on_error=False)
    assert "unknown key 'tunning'" in failure_text(result)


def test_a_check_of_the_definitions_fails(
    imported: Callable[[], dg.Definitions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_IS_DEFS_VALIDATION_CLI", "1")
    with pytest.raises(Exception, match=r"defs\.yaml"):
        imported()


def test_dagsters_own_checks_are_told_apart_by_a_variable() -> None:
    assert 'environ["DAGSTER_IS_DEFS_VALIDATION_CLI"]' in inspect.getsource(definitions_validate_command_impl)


def test_a_module_that_is_broken_is_no_pipeline(
    tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_project(tmp_path)
    (root / "credit/defs/own.py").write_text("import nothing_of_that_name\n")
    monkeypatch.syspath_prepend(root)
    for name in [name for name in sys.modules if name.split(".")[0] == "credit"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        ml_assets.load_from_defs_folder(root)


def test_the_only_pipeline_may_be_the_broken_one(
    tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_project(tmp_path)
    (root / "credit/defs/__init__.py").unlink()
    (root / "credit/defs/loans/defs.yaml").write_text("type: ml_assets.MLPipeline\nattributes: {name: [}\n")
    monkeypatch.syspath_prepend(root)
    for name in [name for name in sys.modules if name.split(".")[0] == "credit"]:
        monkeypatch.delitem(sys.modules, name)
    assert list(problems_of(ml_assets.load_from_defs_folder(root))) == ["loans"]


def test_validate_and_status_name_each_broken_pipeline(
    imported: Callable[[], dg.Definitions], broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defs = imported()
    monkeypatch.chdir(broken)
    monkeypatch.setenv(ENV_VALIDATE, "")  # undone after the test
    monkeypatch.setattr("ml_assets.broken.logger.disabled", False)
    monkeypatch.setattr("ml_assets.loading.definitions", lambda root: defs)
    shown = CliRunner().invoke(main, ["validate"])
    assert shown.exit_code == 1
    assert "ok     savings\n" in shown.output
    for name, (_, text) in BROKEN.items():
        assert f"broken {name}\n" in shown.output
        assert text in shown.output
    assert list(json.loads(CliRunner().invoke(main, ["validate", "--json"]).output)[0]) == ["pipeline", "ok", "text"]
    listed = {one["pipeline"]: one["ok"] for one in json.loads(CliRunner().invoke(main, ["validate", "--json"]).output)}
    assert listed == {"savings": True, "loans": False} | dict.fromkeys(BROKEN, False)
    assert declared(project_at(broken), "savings")["name"] == "savings"  # for the commands that read the YAML alone
    shown = CliRunner().invoke(main, ["status", "wrong_rule"])
    assert shown.exit_code == 1
    assert "failed broken -> correct it" in shown.output
    assert "did you mean 'late_days'?" in shown.output


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"references": {"regions": {"path": "s3://bucket/regions.csv"}}}, "the columns of regions cannot be known"),
        ({"references": {"regions": {"path": "data/reference/none.csv"}}}, "the columns of regions cannot be known"),
        (
            {"lookup": "SELECT region, avg(fee::DOUBLE) AS late_share FROM history GROUP BY region"},
            "'fee', which is not",
        ),
    ],
)
def test_what_only_a_run_can_check_is_said(project: Project, changes: dict[str, Any], text: str) -> None:
    project.sql["region_history.sql"] = changes.get("lookup", project.sql["region_history.sql"])
    project.spec_dict |= {key: value for key, value in changes.items() if key != "lookup"}
    assert text in notes_of(project.defs())["loans"]
    project.sql["features.sql"] = "SELECT row_id, income, late_days FROM batch"
    with pytest.raises(FeatureError, match="names the outcome column 'late_days'"):
        project.defs()  # it does not need what cannot be known


def test_a_reference_that_changes_takes_no_pipeline_down(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "data/reference/regions.csv").write_text("name\nA\n")
    assert "with the references as they are now, features.sql fails" in notes_of(project.defs())["loans"]
    for variable in ("DAGSTER_IS_DEFS_VALIDATION_CLI", ENV_VALIDATE):
        monkeypatch.setenv(variable, "1")
        with pytest.raises(FeatureError, match='"r" does not have a column named'):
            Project(project.root, project.instance).defs()  # a process that starts
        monkeypatch.delenv(variable)


def test_a_pipeline_is_checked_in_a_tenth_of_a_second(project: Project) -> None:
    project.defs()
    folder, started = project.root / "sql", time.process_time()
    texts = sql_texts(project.spec, folder)
    for _ in range(5):
        check(project.spec, texts, project.paths)
    assert (time.process_time() - started) / 5 < 0.1


@pytest.mark.parametrize(("before", "after"), [(700, 50_000), (2000, 50_000), (0, 0), (10_000, 10_000)])
def test_objects_are_collected_less_often_unless_somebody_has_chosen(
    before: int, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_assets.loading._from_defs_folder", lambda _: dg.Definitions())
    chosen = gc.get_threshold()
    try:
        gc.set_threshold(before, *chosen[1:])
        ml_assets.load_from_defs_folder(path_within_project=tmp_path)
        assert gc.get_threshold()[0] == after
    finally:
        gc.set_threshold(*chosen)
