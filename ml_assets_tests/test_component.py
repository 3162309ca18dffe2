"""The component in a third party's project: loading, and errors with file and line."""

from __future__ import annotations

import copy
import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import ml_assets
from ml_assets.component import MLPipeline
from ml_assets.errors import FeatureError
from ml_assets.graph import code_version
from ml_assets_tests.conftest import SPEC, SQL, Project

ROOT = Path(__file__).parents[1]


@pytest.fixture
def load(tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Import the definitions of a project as Dagster does."""

    def load_(spec: dict[str, Any] | None = None, sql: dict[str, str] | None = None, text: str = "") -> Any:
        write_project(tmp_path, spec, sql)
        if text:
            (tmp_path / "credit/defs/loans/defs.yaml").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        for name in [name for name in sys.modules if name.split(".")[0] == "credit"]:
            monkeypatch.delitem(sys.modules, name)
        for cached in (code_version.closure, code_version.source_file):  # each test has a package `credit` of its own
            cached.cache_clear()
        return importlib.import_module("credit.definitions").defs

    return load_


def error_of(load: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """What `dagster definitions validate` says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_IS_DEFS_VALIDATION_CLI", "1")
        with pytest.raises(Exception) as caught:
            load(*arguments, **options)
    texts, error = [], caught.value
    chain: BaseException | None = error
    while chain is not None:
        texts.append(str(chain))
        chain = chain.__cause__ or chain.__context__
    return "\n".join(texts)


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SPEC), **changes}


def test_the_graph_has_all_stations(load: Callable[..., Any]) -> None:
    graph = load().resolve_asset_graph()
    asset_names = {key.path[-1] for key in graph.get_all_asset_keys()}
    assert asset_names == {
        "arrivals",
        "online_lookups",
        "raw_data",
        "validated_data",
        "quarantine",
        "lookup_region_history",
        "features",
        "training_set",
        "candidate_tree",
        "candidate_linear",
        "trained_model",
        "evaluation_report",
        "release_candidate",
        "champion",
        "predictions",
        "drift_report",
        "performance_report",
        "prediction_log",
        "online_report",
    }
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.group_name.startswith("loans_")
        assert node.description
        assert node.kinds
        assert node.owners == ["team:credit"]
        assert node.code_version


def test_jobs_sensors_and_schedules(load: Callable[..., Any]) -> None:
    defs = load(changed(retrain={"cron": "0 3 * * *"}))
    jobs = ("approve", "deploy", "ingest", "maintenance", "prediction_log", "train")
    assert sorted(job.name for job in defs.jobs) == [f"loans_{asset_name}" for asset_name in jobs]
    sensors = ("alerts", "new_data", "online_batches", "prediction_log", "release", "retrain", "stale")
    assert sorted(sensor.name for sensor in defs.sensors) == [f"loans_{asset_name}" for asset_name in sensors]
    assert [schedule.name for schedule in defs.schedules] == ["loans_retrain_cron", "loans_maintenance"]


@pytest.mark.parametrize(
    ("line", "text", "problem"),
    [
        ("  targte: {name: late}", "attributes.targte at", "unknown key 'targte'; did you mean 'target'?"),
        ("  tuning: {trials: 0}", "attributes.tuning.trials at", "greater than or equal to 1; found 0"),
        ("  split: {by: month}", "attributes.split.by at", "'month' is not a valid word"),
        ("  gates: {slices: {by: [x], mni: 1}}", "attributes.gates.slices.mni at", "did you mean 'min'?"),
    ],
)
def test_wrong_yaml_has_file_and_line(
    load: Callable[..., Any], tmp_path: Path, line: str, text: str, problem: str
) -> None:
    import yaml

    spec = copy.deepcopy(SPEC)
    key = line.strip().split(":")[0]
    spec.pop(key, None)
    document = yaml.safe_dump({"type": "ml_assets.MLPipeline", "attributes": spec}, sort_keys=False) + line + "\n"
    number = document.count("\n")
    found = error_of(load, text=document)
    assert text in found
    assert f"credit/defs/loans/defs.yaml:{number}" in found
    assert problem in found


def test_a_key_that_stands_twice_is_refused(load: Callable[..., Any]) -> None:
    import yaml

    document = yaml.safe_dump({"type": "ml_assets.MLPipeline", "attributes": SPEC}, sort_keys=False)
    found = error_of(load, text=document + "  key: [loan]\n")
    assert "The key 'key' appears twice" in found
    assert f"defs.yaml:{document.count(chr(10)) + 1}" in found


def tree(**changes: Any) -> dict[str, Any]:
    """Candidates with another tree."""
    return {"candidates": {"linear": SPEC["candidates"]["linear"], "tree": {**SPEC["candidates"]["tree"], **changes}}}


def select(text: str) -> dict[str, dict[str, str]]:
    return {"sql": {**SQL, "features.sql": text}}


def lookup(text: str) -> dict[str, dict[str, str]]:
    return {"sql": {**SQL, "region_history.sql": text}}


TREE = "sklearn.tree.DecisionTree"
# What is wrong, the word of the YAML's line that the error names, and what else it says.
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"features": "feature.sql"}, "features:", "features names a file that does not exist"),
    (select("SELEC row_id"), "features:", "features.sql is not a SELECT that can be parsed"),
    (select("FROM lake.loans.raw_data"), "features:", "reads the table 'lake.loans.raw_data'"),
    (select("SELECT income FROM batch"), "features:", "features.sql must give row_id"),
    (select("SELECT row_id FROM batch"), "features:", "gives no feature beside row_id"),
    (select("SELECT row_id,\n income,\n late_days FROM batch"), "features:", "names the outcome column 'late_days'"),
    (select("SELECT row_id,\n incme\nFROM batch"), "features:", "not found in FROM clause!; did you mean 'income'?"),
    (select("SELECT row_id,\n incme\nFROM batch"), "features:", "file features.sql, line 2, column incme"),
    (select("SELECT b.row_id, r.rate FROM batch b JOIN regions r USING (region)"), "features:", 'column named "rate"'),
    (select("SELECT b.row_id, h.share FROM batch b JOIN region_history h USING (region)"), "features:", "'late_share'"),
    (select("SELECT row_id, lenght(region) AS n FROM batch"), "features:", "did you mean 'length'?"),
    (select("SELECT row_id, region + 1 AS n FROM batch"), "features:", "No function matches"),
    (select("SELECT row_id, signed FROM batch"), "features:", "The feature 'signed' is a TIMESTAMP"),
    (lookup("SELECT * FROM batch"), "region_history.sql", "reads the table 'batch'"),
    (lookup("SELECT regoin, 1 AS n FROM history"), "region_history.sql", "did you mean 'region'?"),
    (lookup("SELECT count(*) AS n FROM history"), "region_history.sql", "does not select its key 'region'"),
    ({"rules": {"typo": "lat_days > 1"}}, "typo:", "rules.typo is not a SQL expression"),
    ({"rules": {"typo": "lat_days > 1"}}, "typo:", "did you mean 'late_days'?"),
    ({"rules": {"file": "income > (SELECT count(*) FROM glob('/*'))"}}, "file:", "calls glob()"),
    ({"target": {"name": "late", "sql": "late_dys > 10", "kind": "binary"}}, "late_dys", "target.sql is not a SQL"),
    (tree(estimator="sklearn.tree.DecisionTree"), "DecisionTree", "sklearn.tree has no 'DecisionTree'"),
    (tree(estimator=f"{TREE}Regressor"), "Regressor", "predicts values; target.kind binary needs classes"),
    (tree(params={"maxdepth": 3}), "maxdepth", "has no parameter 'maxdepth'; did you mean 'max_depth'?"),
    (tree(search={"min_leaf": {"low": 1, "high": 3}}), "min_leaf", "has no parameter 'min_leaf'"),
    (tree(estimator="sklearn.svm.LinearSVC", params={}, search={}), "LinearSVC", "gives no probabilities"),
    ({"monitoring": {"columns": {"incme": {"ignore": True}}}}, "incme", "names 'incme', which is no feature"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "word", "text"), WRONG)
def test_what_cannot_work_is_refused_at_load(
    load: Callable[..., Any], tmp_path: Path, changes: dict[str, Any], word: str, text: str
) -> None:
    sql = changes.get("sql", SQL)
    found = error_of(load, changed(**{key: value for key, value in changes.items() if key != "sql"}), sql)
    assert text in found
    assert "pipeline loans" in found
    lines = (tmp_path / "credit/defs/loans/defs.yaml").read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if word in line]
    assert re.search(rf"credit/defs/loans/defs\.yaml:{number}\b", found)


def test_environment_variables_are_rendered(load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOANS_FOLDER", "data/elsewhere")
    source = {**SPEC["source"], "path": "{{ env.LOANS_FOLDER }}"}
    defs = load(changed(source=source))
    (sensor,) = [sensor for sensor in defs.sensors if sensor.name == "loans_new_data"]
    assert "data/elsewhere" in sensor.description


def test_text_that_python_reads_as_a_literal_loads_as_it_stands(load: Callable[..., Any]) -> None:
    columns = [*SPEC["columns"], {"name": "10", "type": "string", "allowed": ["1", "None"]}]
    target = {"name": "left_us", "sql": '"late_days" > 10', "kind": "binary"}
    defs = load(changed(columns=columns, key=["10"], rules={"own": "10", "quoted": '"10"'}, target=target))
    assert defs.resolve_asset_graph()


def test_a_component_made_in_python_raises_its_error(project: Project) -> None:
    assert project.defs()
    made = MLPipeline(project.spec, project.root / "sql")
    assert dg.build_defs_for_component(made).resolve_asset_graph()
    project.sql["features.sql"] = "SELECT row_id, late_days FROM batch"
    (project.root / "sql/features.sql").write_text(project.sql["features.sql"])
    with pytest.raises(FeatureError, match="names the outcome column 'late_days'"):
        dg.build_defs_for_component(made)


TEAM = re.findall(r"```python\n(.*?)```", (ROOT / "docs/how-to/extend.md").read_text(), flags=re.DOTALL)[0]


def document(**more: Any) -> str:
    import yaml

    return yaml.safe_dump({"type": "credit.components.TeamPipeline", "attributes": SPEC, **more}, sort_keys=False)


def load_team(load: Callable[..., Any], tmp_path: Path, code: str, text: str) -> Any:
    """A project with a component of its own; the package has to be there before its module is imported."""
    (tmp_path / "credit").mkdir()
    (tmp_path / "credit/components.py").write_text(code)
    return load(text=text)


def test_the_pipeline_type_of_the_docs_changes_and_adds_assets(load: Callable[..., Any], tmp_path: Path) -> None:
    marked = {"target": "key:loans/features", "operation": "merge", "attributes": {"tags": {"by": "yaml"}}}
    defs = load_team(load, tmp_path, TEAM, document(post_processing={"assets": [marked]}))
    graph = defs.resolve_asset_graph()
    raw, made, features = (graph.get(dg.AssetKey(["loans", n])) for n in ("raw_data", "announcement", "features"))
    assert raw.tags["pii"] == "true"
    assert raw.tags["ml_assets/pipeline"] == "loans"
    assert "pii" not in features.tags
    assert features.tags["by"] == "yaml"
    assert made.parent_keys == {dg.AssetKey(["loans", "champion"])}
    assert [check.name for check in made.check_keys] == ["was_sent"]
    assert "loans_new_data" in {sensor.name for sensor in defs.sensors}
    assert (
        dg.AssetKey(["loans", "announcement"])
        not in defs.resolve_job_def("loans_train").asset_layer.selected_asset_keys
    )


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("        return spec.replace_attributes(key='other')", "must not change keys"),
        ("        raise ValueError('no such owner')", "no such owner"),
    ],
)
def test_an_error_of_a_subclass_takes_its_own_pipeline_only(
    load: Callable[..., Any], tmp_path: Path, line: str, text: str
) -> None:
    code = TEAM.replace("        spec = super().get_asset_spec(spec)", line)
    assert code != TEAM
    graph = load_team(load, tmp_path, code, document()).resolve_asset_graph()
    (key,) = graph.get_all_asset_keys()
    assert key == dg.AssetKey(["loans", "broken"])
    assert text in graph.get(key).description


def test_public_names_are_those_that_exist() -> None:
    assert dir(ml_assets) == sorted(ml_assets.__all__)
    for name in ml_assets.__all__:
        assert getattr(ml_assets, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ml_assets.nothing  # noqa: B018
