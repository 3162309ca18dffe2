"""Which engine a release computes features with, and what it says of the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml_assets.graph.release.packaging import features_engine
from ml_assets.lake.lake import Lake
from ml_assets.ml import bundle, release
from ml_assets.ml.release import SQLITE_SELECT, Facts
from ml_assets.tables import training_sets
from ml_assets_tests.conftest import Project


def chosen(trained: Project, tmp_path: Path, sql: str | None, parity: Any) -> Facts:
    """What is chosen for the release of the tests' pipeline with another SELECT."""
    shipped = trained.paths.releases / "loans" / "1.0.0"
    folder = tmp_path / "release"
    (folder / "bundle").mkdir(parents=True)
    for kind in ("lookups", "references"):
        (folder / kind).symlink_to(shipped / kind)
    facts = replace(release.read_facts(shipped), features_engine="duckdb", row_wise=False, indexes={})
    if sql is None:
        facts = replace(facts, sql=None, function="m:f")
    else:
        (folder / "bundle" / str(facts.sql)).write_text(sql)
    with Lake(trained.paths.lake, read_only=True) as lake:
        pin = training_sets.newest(lake, "loans")
        schema = bundle.read_schema(shipped / "bundle")
        found = features_engine.choose(lake, trained.spec, pin, folder, facts, schema, parity)
    assert (folder / SQLITE_SELECT).exists() == (found.features_engine == "sqlite")
    return found


def never(*_: Any) -> str:
    """Of engines that must not be compared."""
    raise AssertionError


def test_the_training_rows_are_compared(trained: Project, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def parity(folder: Path, facts: Facts, schema: Any, rows: dict[str, list[Any]], count: int) -> str:
        asked.update(text=(folder / SQLITE_SELECT).read_text(), facts=facts, rows=rows, count=count)
        return ""

    sql = (trained.paths.releases / "loans" / "1.0.0" / "bundle" / "features.sql").read_text()
    found = chosen(trained, tmp_path, sql, parity)
    assert (found.features_engine, found.features_why, found.row_wise) == ("sqlite", "", True)
    assert asked["count"] == 600
    assert list(asked["rows"]) == ["loan", "income", "region", "signed"]
    assert asked["facts"] == found
    assert "`income`" in asked["text"]


@pytest.mark.parametrize(
    ("sql", "parity", "row_wise", "why"),
    [
        (None, never, False, "a Python function"),
        ("SELECT row_id, count(*) OVER () AS late_share, 1 AS income FROM batch", never, False, "by itself"),
        ("SELECT row_id, hash(income) AS income FROM batch", never, True, "not known to be the same on SQLite: hash()"),
    ],
)
def test_the_reason_for_duckdb_is_kept(
    trained: Project, tmp_path: Path, sql: str | None, parity: Any, row_wise: bool, why: str
) -> None:
    found = chosen(trained, tmp_path, sql, parity)
    assert (found.features_engine, found.row_wise, found.indexes) == ("duckdb", row_wise, {})
    assert why in found.features_why


def test_a_difference_is_the_reason(trained: Project, tmp_path: Path) -> None:
    sql = (trained.paths.releases / "loans" / "1.0.0" / "bundle" / "features.sql").read_text()
    found = chosen(trained, tmp_path, sql, lambda *_: "income is 1 on SQLite and 2 on DuckDB")
    assert (found.features_engine, found.features_why) == ("duckdb", "income is 1 on SQLite and 2 on DuckDB")
