"""A project whose catalog is on PostgreSQL and whose files are on S3 computes what an embedded one does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml_assets.lake.lake import Lake
from ml_assets.lake.postgres import PostgresCatalog
from ml_assets_tests import postgres, s3
from ml_assets_tests.conftest import Project, train

# What both must have; lists come from models that compute in the same order.
EQUAL = {
    "validated_data": "SELECT batch, row_id, income, region, late_days FROM {p}.validated_data ORDER BY ALL",
    "features": "SELECT * FROM {p}.features ORDER BY ALL",
    "predictions": "SELECT batch, row_id, score, decision, model_version FROM {p}.predictions ORDER BY ALL",
    "champion": "SELECT version, decision, gates FROM {p}.champion",
    "drift_report": "SELECT batch, drifted, share FROM {p}.drift_report",
    "performance_report": "SELECT batch, metric, value FROM {p}.performance_report ORDER BY ALL",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a project on both servers."""
    with postgres.server() as database, s3.running(tmp_path_factory.mktemp("s3"), "models") as objects:
        yield {
            "ML_ASSETS_CATALOG": database.database(),
            "ML_ASSETS_LAKE_DATA": "s3://models/credit",
            **objects.environment(),
        }


def test_rows_scores_and_decisions_are_those_of_an_embedded_lake(
    trained: Project, cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = {table: trained.rows(sql) for table, sql in EQUAL.items()}
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    train(tmp_path)
    made = Project(tmp_path / "project", trained.instance)
    catalog = made.paths.catalog
    assert isinstance(catalog, PostgresCatalog)
    assert catalog.data.url == "s3://models/credit/lake/data"
    for table, sql in EQUAL.items():
        assert made.rows(sql) == embedded[table], table
        assert embedded[table], table
    local = [file.relative_to(made.paths.data) for file in made.paths.data.rglob("*.parquet")]
    assert {file.parts[0] for file in local} == {"incoming", "cache"}  # what arrived, and copies of releases
    assert not made.paths.lake.exists() or not list(made.paths.lake.rglob("*.sqlite"))
    with Lake.of(made.paths, read_only=True) as lake:
        assert lake.damaged_files("loans") == []
        lost = next(file for file in catalog.data.files("loans/features") if "batch=2" in file.name)
        catalog.data.remove(lost.name)
        (found,) = lake.damaged_files("loans")
        assert (found.batch, found.what, found.path) == ("2", "is lost", f"s3://models/credit/lake/data/{lost.name}")
    assert [store for store in ("bundles", "releases") if not any_names(made, store)] == []


def any_names(project: Project, store: str) -> Any:
    return getattr(project.paths.artifacts, store).names("loans")
