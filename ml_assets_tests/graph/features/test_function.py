"""Features by a Python function: what is refused at load, what it sees, what it may return."""

from __future__ import annotations

import itertools
import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ml_assets.errors import FeatureError, SpecError
from ml_assets.graph.code_version import module_hashes
from ml_assets.graph.features.function import find_function
from ml_assets.graph.features.make import make_features
from ml_assets.lake.lake import Lake
from ml_assets.sources.references import load_references
from ml_assets_tests.conftest import SQL, Project, failure_text, loans
from ml_assets_tests.test_component import changed, error_of, load  # noqa: F401 - a fixture

SAME_AS_SQL = """
    def make_features(batch, regions, region_history):
        made = batch.merge(regions, on="region", how="left").merge(region_history, on="region", how="left")
        made["signed_hour"] = made["signed"].dt.hour
        return made[["row_id", "income", "region", "signed_hour", "unemployment", "late_share"]]
"""
numbers = itertools.count()

Write = Callable[[str], str]


@pytest.fixture
def write(project: Project, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module of a name of its own on the import path, beside the pipeline's SQL files; returns the name."""
    folder = project.root / "sql"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def write_(text: str) -> str:
        name = f"written_{next(numbers)}"
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
        return name

    return write_


def test_a_pipeline_of_python_features_equals_that_of_sql(copied: Project, trained: Project, write: Write) -> None:
    module = write(SAME_AS_SQL)
    copied.spec_dict["features"] = f"{module}.py:make_features"
    result = copied.materialize("features", batches=["1", "2", "3", "4", "5"])
    assert result.success, failure_text(result)
    rows = "SELECT * FROM {p}.features ORDER BY batch, row_id"
    by_sql = trained.rows(rows)
    assert len(by_sql) == 750
    assert copied.rows(rows) == by_sql
    result = copied.train()
    assert result.success, failure_text(result)
    version = copied.value("SELECT max(version) FROM {p}.trained_model")
    assert version != "1.0.0"
    folder = copied.paths.bundles / "loans" / version
    assert "def make_features" in (folder / f"{module}.py").read_text()
    assert f"{module}.py" in json.loads((folder / "manifest.json").read_text())["files"]
    for result in (copied.materialize("predictions", batches=["5"]), copied.materialize("drift_report", batches=["5"])):
        assert result.success, failure_text(result)


@pytest.fixture
def lake(trained: Project) -> Iterator[Lake]:
    """The trained project's lake, for reading."""
    with Lake(trained.paths.lake, read_only=True) as opened:
        yield opened


@pytest.fixture
def make(trained: Project, write: Write, lake: Lake) -> Callable[..., dict[str, str]]:
    """Make the features of a batch of the trained project by a function, into a temporary table of `lake`."""

    def make_(text: str, batch: str = "2") -> dict[str, str]:
        views = ["batch", *trained.spec.lookups, *trained.spec.references]
        function = find_function(f"{write(text)}:make", trained.root, views)
        load_references(lake, trained.spec, trained.paths, trained.spec.references)
        return make_features(lake, trained.spec, batch, function, "new code")

    return make_


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("batch['late_days']\n    return batch", "names the outcome column 'late_days', which is known only after"),
        ("batch[['income', 'late']]\n    return batch", "names the outcome column 'late'"),
        ("batch.late_days.mean()\n    return batch", "names the outcome column 'late_days'"),
        ("batch.query('late_days > 1')\n    return batch", "names the outcome column 'late_days'"),
        ("batch['incme']\n    return batch", "found: KeyError: 'incme'"),
        ("raise ValueError('no such thing')", "found: ValueError: no such thing"),
        ("import no_such_module", "found: ModuleNotFoundError: No module named 'no_such_module'"),
        ("return batch[batch.income > 30][['row_id', 'income']]", "drops rows"),
        ("return pd.concat([batch, batch])[['row_id', 'income']]", "doubles rows"),
        ("return batch[['row_id', 'income']].assign(row_id=range(1000, 1000 + len(batch)))", "drops rows"),
        ("return batch[['income']]", "must give row_id"),
        ("return batch[['row_id']]", "gives no feature"),
        ("return batch[['row_id', 'signed']]", "The feature 'signed' is a TIMESTAMP"),
        ("return None", "must return a pandas DataFrame.\n  found: NoneType"),
        ("return batch[['row_id']].assign(x=[1, 'a'] * (len(batch) // 2))", "values are not of one type"),
    ],
)
def test_a_wrong_function_is_one_clear_error(make: Callable[..., Any], body: str, text: str) -> None:
    with pytest.raises(FeatureError) as caught:
        make(f"import pandas as pd\n\ndef make(batch):\n    {body}\n")
    found = str(caught.value)
    assert text in found
    assert "where: file " in found
    if "Error: " in text or "outcome" in text:
        assert ".py, line 4" in found


def test_an_error_says_the_last_place_in_the_users_code(project: Project, write: Write) -> None:
    helper = write("def mean(frame):\n    return frame['incme'].mean()\n")
    module = write(f"from {helper} import mean\n\ndef make(batch):\n    return mean(batch)\n")
    project.spec_dict["features"] = f"{module}:make"
    project.write(1)
    found = failure_text(project.ingest("1"))
    assert f"{module}:make fails.\n  found: KeyError: 'incme'\n  where: pipeline loans, batch 1, file " in found
    assert f"{helper}.py, line 2\n  next:  The code there: return frame['incme'].mean()" in found
    assert "Traceback" not in found


SEEN = """
    def make(batch, regions, region_history):
        assert list(batch.columns) == ["batch", "row_id", "loan", "income", "region", "signed"]
        assert list(batch["row_id"]) == list(range(1, 151))
        kinds = ["object", "int64", "int64", "float64", "object", "datetime64[us]"]
        assert [str(kind) for kind in batch.dtypes] == kinds
        assert list(region_history.columns) == ["region", "late_share"]
        assert list(region_history["region"]) == ["A", "B", "C"]
        made = batch[["row_id"]].assign(unemployment=regions["unemployment"].max())
        regions["unemployment"] = 0
        batch["income"] = 0
        return made
"""


def test_what_the_function_sees_is_a_copy_without_outcomes(make: Callable[..., Any], lake: Lake) -> None:
    for batch in ("2", "3"):
        assert make(SEEN, batch) == {"unemployment": "number"}
        assert lake.rows("SELECT DISTINCT batch, unemployment FROM feature_rows") == [
            {"batch": batch, "unemployment": 0.11}
        ]


def test_the_index_and_the_batch_may_come_back(make: Callable[..., Any], lake: Lake) -> None:
    text = "def make(batch):\n    return batch[['batch', 'row_id', 'income']].set_index('row_id')\n"
    assert make(text) == {"income": "number"}
    assert list(lake.columns("feature_rows")) == ["batch", "row_id", "income"]


def test_columns_that_depend_on_the_rows_are_refused(project: Project, write: Write) -> None:
    module = write(
        """
        import pandas as pd

        def make(batch):
            return pd.get_dummies(batch[["row_id", "region"]], columns=["region"])
        """
    )
    project.spec_dict["features"] = f"{module}:make"
    project.write(1)
    project.write(2, loans(2).query("region != 'C'"))
    result = project.ingest("1", "2")
    assert result.success  # one of two
    (error,) = project.rows("SELECT batch, error FROM {p}.ingest_errors")
    assert error["batch"] == "2"
    assert "gives other columns for this batch than for batch 1" in error["error"]
    assert "missing: region_C" in error["error"]
    assert project.value("SELECT count(region_C) FROM {p}.features") == 150
    # Other code may give other columns: it makes all batches anew.
    module = write("def make(batch):\n    return batch[['row_id', 'income']]\n")
    project.spec_dict["features"] = f"{module}:make"
    assert project.materialize("features", batches=["2"]).success
    assert set(project.rows("SELECT * FROM {p}.features LIMIT 1")[0]) == {"batch", "row_id", "income"}


@pytest.mark.parametrize(
    ("features", "text"),
    [
        ("feature.py:make", "features names a file that does not exist.\n  found: feature.py"),
        ("features.py:mak", "defines no function 'mak'"),
        ("features.py:borrowed", "defines no function 'borrowed'"),
        ("features.py:wrong", "wrong has the parameter 'wether', which is no view; did you mean 'weather'?"),
        ("features.py:alone", "alone does not take `batch`"),
        ("features.py:stars", "the parameters of stars are the names of the views"),
        ("broken.py:make", "cannot be parsed"),
        ("no_such_package.features:make", "there is no module 'no_such_package'"),
        ("json.encodr:make", "there is no module 'json.encodr'; did you mean 'encoder'?"),
    ],
)
def test_what_cannot_work_is_refused_without_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, features: str, text: str
) -> None:
    name = f"pipeline_{next(numbers)}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "features.py").write_text(
        "raise RuntimeError('imported')\n"
        "from os.path import join as borrowed\n"
        "def make(batch): ...\n"
        "def wrong(batch, wether): ...\n"
        "def alone(weather): ...\n"
        "def stars(batch, **views): ...\n"
    )
    (folder / "broken.py").write_text("def make(batch:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SpecError) as caught:
        find_function(features, folder, ["batch", "weather"])
    assert text in str(caught.value)
    if "no module" in text:
        assert "looked in /" in str(caught.value)
    assert find_function(f"{name}.features:make", folder, ["batch"]).line == 3


def test_a_file_that_cannot_be_imported_is_refused(tmp_path: Path) -> None:
    (tmp_path / "features_nowhere.py").write_text("def make(batch): ...\n")
    with pytest.raises(SpecError, match="no folder above it is on the import path"):
        find_function("features_nowhere.py:make", tmp_path, ["batch"])


def test_a_file_beside_the_yaml_is_not_imported_at_load(load: Callable[..., Any]) -> None:  # noqa: F811
    sql = {**SQL, "features.py": f"import credit.helpers\n{textwrap.dedent(SAME_AS_SQL)}"}
    defs = load(changed(features="features.py:make_features"), sql)
    assert "credit.defs.loans.features" not in sys.modules
    node = defs.resolve_asset_graph().get(dg.AssetKey(["loans", "features"]))
    assert "The pipeline's function" in node.description


def test_a_wrong_function_is_refused_with_the_yaml(load: Callable[..., Any]) -> None:  # noqa: F811
    found = error_of(load, changed(features="features.py:make"), {**SQL, "features.py": "def make(batc): ..."})
    assert "has the parameter 'batc', which is no view; did you mean 'batch'?" in found
    assert "credit/defs/loans/defs.yaml" in found


def test_code_versions_follow_the_users_own_modules(write: Write) -> None:
    def hashes(helper: str) -> set[str]:
        name = write(helper)
        return set(module_hashes(write(f"import pandas\nfrom {name} import f\ndef make(batch): return f(batch)")))

    plain = hashes("def f(x):\n    return x\n")
    assert len(plain) == 2  # pandas does not count
    assert plain & hashes('"""Explained."""\n\n\ndef f(x):  # as it is\n    """Nothing."""\n    return x\n')
    assert not plain & hashes("def f(x):\n    return x + 1\n")


def test_relative_imports_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / f"package_{next(numbers)}"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "deep" / "__init__.py").touch()
    (package / "top.py").write_text("x = 1\n")
    (package / "deep" / "near.py").write_text("from ..top import x\n")
    (package / "deep" / "features.py").write_text("from . import near\n\ndef make(batch): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    function = find_function("features.py:make", package / "deep", ["batch"])
    root = package.name
    assert {f"{root}.top.py", f"{root}.deep.near.py", f"{root}.deep.features.py"} <= set(function.sources)
    assert len(function.version) == len(function.sources)
