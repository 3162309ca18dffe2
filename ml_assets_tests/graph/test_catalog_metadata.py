"""Metadata of each asset for Dagster's UI and data catalogues."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ml_assets_tests.conftest import SPEC, SQL, Project
from ml_assets_tests.test_component import load  # noqa: F401 - a fixture

FUNCTION = "def make(batch):\n    return batch\n"
ESTIMATOR = "from sklearn.tree import DecisionTreeClassifier\n\n\nclass Own(DecisionTreeClassifier):\n    pass\n"


def metadata_of(defs: dg.Definitions) -> dict[str, Any]:
    graph = defs.resolve_asset_graph()
    return {key.path[-1]: graph.get(key).metadata for key in graph.get_all_asset_keys()}


def lines_of(metadata: Any) -> dict[str | None, str]:
    """Label of each code reference -> the line that it points at."""
    return {
        one.label: Path(one.file_path).read_text().splitlines()[one.line_number - 1].strip()
        for one in metadata["dagster/code_references"].code_references
    }


def test_code_references_point_at_the_lines(load: Callable[..., Any]) -> None:  # noqa: F811
    found = {name: lines_of(metadata) for name, metadata in metadata_of(load()).items()}
    own = {None: "type: ml_assets.MLPipeline"}  # that of Dagster itself: the whole pipeline
    assert found["features"] == own | {
        "features.sql": SQL["features.sql"].splitlines()[0],
        "defs.yaml: features": "features: features.sql",
    }
    assert found["lookup_region_history"] == own | {
        "region_history.sql": SQL["region_history.sql"],
        "defs.yaml: lookups.region_history": "region_history:",
    }
    assert found["candidate_tree"] == own | {"defs.yaml: candidates.tree": "tree:"}
    assert found["quarantine"] == own | {"defs.yaml: rules": "rules:"}
    assert found["predictions"] == own  # the YAML says nothing of `serving`


def test_tables_have_names_uris_columns_and_rows(trained: Project) -> None:
    found = metadata_of(trained.defs())
    folder = Path(found["features"]["dagster/uri"].removeprefix("file://"))
    assert list(folder.rglob("*.parquet"))
    assert found["features"]["dagster/table_name"] == "lake.loans.features"
    assert not {"dagster/table_name", "dagster/uri"} & found["candidate_tree"].keys()
    lineage = found["features"]["dagster/column_lineage"].deps_by_column
    assert lineage["late_share"] == [dg.TableColumnDep(dg.AssetKey(["loans", "lookup_region_history"]), "late_share")]
    columns = {column.name: column.type for column in found["lookup_region_history"]["dagster/column_schema"].columns}
    assert columns == {"batch": "VARCHAR", "region": "VARCHAR", "late_share": "DOUBLE"}
    event = trained.instance.get_latest_materialization_event(dg.AssetKey(["loans", "features"]))
    assert event
    assert event.asset_materialization
    rows = event.asset_materialization.metadata
    assert (rows["dagster/partition_row_count"].value, rows["dagster/row_count"].value) == (150, 750)


def test_python_that_makes_an_asset_is_referred_to(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "own_parts.py").write_text(FUNCTION + "\n\n" + ESTIMATOR)
    monkeypatch.syspath_prepend(project.root)
    project.spec_dict = copy.deepcopy(SPEC) | {"features": "own_parts:make"}
    project.spec_dict["candidates"]["tree"] = {"estimator": "own_parts.Own"}
    found = metadata_of(project.defs())
    assert lines_of(found["features"]) == {"own_parts:make": "def make(batch):"}
    assert lines_of(found["candidate_tree"]) == {"own_parts.Own": "class Own(DecisionTreeClassifier):"}
    assert "dagster/code_references" not in found["candidate_linear"]
    assert "dagster/column_lineage" not in found["features"]
