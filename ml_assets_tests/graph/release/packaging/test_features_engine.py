"""Which engine a release computes features with, and what it says of the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml_assets.graph.release.packaging import features_engine
from ml_assets.lake.lake import Commit, Lake
from ml_assets.ml import bundle, release
from ml_assets.ml.release import SQLITE_SELECT, ServingFacts
from ml_assets.tables import training_sets
from ml_assets.tables.data import VALIDATED_DATA
from ml_assets.tables.training_sets import PARTS, Pin
from ml_assets_tests.conftest import Project


def chosen(trained: Project, tmp_path: Path, sql: str | None, parity: Any) -> ServingFacts:
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

    def parity(folder: Path, facts: ServingFacts, schema: Any, rows: dict[str, list[Any]], count: int) -> str:
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


def test_rows_are_compared_from_the_first_to_the_last_of_some_batches(
    lake: Lake, trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are not read: their files may be lost. Nor are rows that came after the training set was made."""
    monkeypatch.setattr(features_engine, "COMPARED_ROWS", 6)
    monkeypatch.setattr(features_engine, "COMPARED_BATCHES", 3)
    names = ["1", "2", "3", "4", "5"]
    for batch in names:
        rows = f"(SELECT '{batch}' AS batch, unnest(range(1, 101)) AS row_id, {batch}000 + row_id AS income)"
        (written,) = lake.replace([VALIDATED_DATA.put("loans", rows, batch)], Commit("loans/validated_data"))
    for batch in ("2", "4"):
        for file in (lake.folder / "data" / "loans" / "validated_data" / f"batch={batch}").iterdir():
            file.unlink()
    lake.replace(
        [VALIDATED_DATA.put("loans", "(SELECT '3' AS batch, 1 AS row_id, 0 AS income)", "3")],
        Commit("loans/validated_data"),
    )
    schema = replace(bundle.read_schema(trained.paths.releases / "loans/1.0.0/bundle"), columns={"income": "number"})
    pin = Pin("p", written.snapshot_id, dict.fromkeys(PARTS, names), dict.fromkeys(PARTS, 100), {}, "", {}, 0)
    found = features_engine._rows(lake, trained.spec, pin, schema)
    assert found == {"income": [1001, 1002, 3050, 3051, 5099, 5100]}
    assert features_engine._rows(lake, trained.spec, replace(pin, batches={"test": ["9"]}), schema) == {"income": []}
