"""Columns of a pipeline's tables are traced through its SELECTs."""

from __future__ import annotations

import pytest

from ml_assets.graph.features.binding import check_selects
from ml_assets.graph.features.lineage import pipeline_lineage
from ml_assets_tests.conftest import Project

OUTCOMES = {"path": "data/late", "pattern": r"late_(?P<batch>\\d+)\\.parquet"}


def words(project: Project) -> dict[str, dict[str, set[str]]]:
    bound = check_selects(project.spec, project.sql, project.paths, files_count=True)
    found = pipeline_lineage(project.spec, project.sql, bound)
    return {
        name: {column: {".".join(origin) for origin in origins} for column, origins in lineage.items()}
        for name, lineage in found.items()
    }


def test_columns_are_traced_to_raw_data(project: Project) -> None:
    found = words(project)
    assert found["validated_data"]["late_days"] == found["quarantine"]["late_days"] == {"raw_data.late_days"}
    assert found["lookup_region_history"] == {
        "region": {"validated_data.region"},
        "late_share": {"validated_data.late_days"},  # through the target
    }
    assert found["features"] == {
        "row_id": {"validated_data.row_id"},
        "income": {"validated_data.income"},
        "region": {"validated_data.region"},
        "signed_hour": {"validated_data.signed"},
        "late_share": {"lookup_region_history.late_share"},  # and unemployment is of a reference, which is no asset
    }
    features = {f"features.{name}" for name in ("income", "region", "signed_hour", "unemployment", "late_share")}
    assert found["predictions"]["score"] == found["predictions"]["decision"] == features
    assert found["predictions"]["row_id"] == {"features.row_id"}


def test_an_outcome_may_have_come_late(project: Project) -> None:
    project.spec_dict["outcomes"] = OUTCOMES
    project.sql["region_history.sql"] = (
        "SELECT region, avg(late::INT) AS late_share, max(income) AS i FROM history GROUP BY 1"
    )
    found = words(project)["lookup_region_history"]
    assert found["late_share"] == {"validated_data.late_days", "outcomes.late_days"}
    assert found["i"] == {"validated_data.income"}


def test_a_missing_reference_hides_its_own_columns_only(project: Project) -> None:
    (project.root / "data/reference/regions.csv").unlink()
    found = words(project)
    assert found["features"]["income"] == {"validated_data.income"}
    assert "unemployment" not in found["features"]
    assert "predictions" not in found


@pytest.mark.parametrize(
    "sql", ["SELECT row_id, income AS x FROM batch", "SELECT row_id, x FROM (SELECT row_id, income AS x FROM batch)"]
)
def test_a_lookup_that_is_not_used_is_no_origin(project: Project, sql: str) -> None:
    project.sql["features.sql"] = sql
    assert words(project)["features"] == {"row_id": {"validated_data.row_id"}, "x": {"validated_data.income"}}
