"""A project whose catalog is on PostgreSQL and whose files are on S3 computes what an embedded one does."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import backfill
from ml_assets.graph.training.candidates import Outcome, compete
from ml_assets.graph.training.pinning import make_pin
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.postgres import PostgresCatalog
from ml_assets_tests import postgres, s3
from ml_assets_tests.conftest import Project, train, wait_until
from ml_assets_tests.graph.training.small import spec_of, written

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


ELSEWHERE = """
    import sys
    from pathlib import Path
    from ml_assets_tests.test_cluster import competed
    competed(Path(sys.argv[1]))
"""
SLOW = spec_of(
    {
        "estimator": "ml_assets_tests.graph.training.slow_tree.SlowTree",
        "search": {"max_depth": {"low": 1, "high": 6}, "ccp_alpha": {"low": 0.0001, "high": 0.1, "log": True}},
    },
    trials=16,
    folds=2,
)


def another_database(cluster: dict[str, str], name: str) -> str:
    """The address of an empty database on the same server."""
    import psycopg2

    address = cluster["ML_ASSETS_CATALOG"]
    connection = psycopg2.connect(address)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"{address.rpartition('/')[0]}/{name}"


def competed(root: Path) -> Outcome:
    """The search of a candidate, by a machine whose project is in this folder."""
    paths = Paths(root, root / "data")
    with Lake.of(paths) as lake:
        return compete(lake, paths, SLOW, "slow", make_pin(lake, SLOW), "v1", lambda *_: None)


def test_a_search_that_lost_its_machine_goes_on_elsewhere(
    cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 on one machine; another one, which has nothing of its own, goes on after its last trial."""
    alone, first, second = (tmp_path / name for name in ("alone", "first", "second"))
    monkeypatch.setenv("FITS", str(tmp_path / "alone.fits"))
    for folder in (alone, first, second):
        (folder / "data").mkdir(parents=True)
    with Lake.of(Paths(alone, alone / "data")) as lake:
        written(lake, SLOW)
    undisturbed = competed(alone)
    place = {
        "ML_ASSETS_CATALOG": another_database(cluster, "elsewhere"),
        "ML_ASSETS_LAKE_DATA": "s3://models/elsewhere",
    }
    for name, value in {**cluster, **place}.items():
        monkeypatch.setenv(name, value)
    with Lake.of(Paths(first, first / "data")) as lake:
        written(lake, SLOW)
    monkeypatch.setenv("FITS", str(tmp_path / "first.fits"))
    searches = Paths(second, second / "data").artifacts.searches
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(ELSEWHERE), str(first)]) as process:
        wait_until(
            lambda: any(len(searches.names(f"loans/{one}")) >= 6 for one in searches.names("loans")), 60, "trials"
        )
        process.kill()
    monkeypatch.setenv("FITS", str(tmp_path / "second.fits"))
    resumed = competed(second)
    assert [(t.number, t.params, t.scores) for t in resumed.trials] == [
        (t.number, t.params, t.scores) for t in undisturbed.trials
    ]
    reached = ("validation_score", "train_score", "threshold", "cv_se")
    assert resumed.best.params == undisturbed.best.params
    assert [getattr(resumed, name) for name in reached] == [getattr(undisturbed, name) for name in reached]
    fits = {name: (tmp_path / f"{name}.fits").read_text().count("\n") for name in ("alone", "first", "second")}
    assert fits["second"] <= fits["alone"] - 6  # six trials have six fits or more
    resumed.journal.remove()
    assert searches.names(resumed.journal.name) == []


def test_a_backfill_by_two_workers_has_every_row_once(cluster: dict[str, str]) -> None:
    servers = {name: value for name, value in cluster.items() if name.startswith("AWS")}
    found = backfill.measured(2, 2, 40, 1, another_database(cluster, "backfill"), servers)
    assert (found.rows, found.lost, found.doubled) == (80, 0, 0)
