"""Features on SQLite: the same as on DuckDB, one row at a time, with no way out of the release's tables."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from pathlib import Path

import duckdb
import pytest

from ml_assets.errors import FeatureError
from ml_assets.ml.release import SQLITE_SELECT, source_line
from ml_assets.server import features_sqlite
from ml_assets.server.engines import opened
from ml_assets.server.features import Features
from ml_assets.server.features_sqlite import SqliteFeatures
from ml_assets.server.requests import RowRefused
from ml_assets_tests.server.made import COLUMNS, ROWS, for_sqlite, release_of

SQL = """
SELECT b.row_id, b.k, b.n * 2 AS double, w.temp, h.share / b.n AS ratio
FROM batch b LEFT JOIN weather w ON w.k = b.k AND CAST(w.hour AS TIMESTAMP) = b.at LEFT JOIN history h USING (k)
"""
FEATURES = {"k": "category", "double": "number", "temp": "number", "ratio": "number"}


@pytest.fixture
def engine(tmp_path: Path) -> SqliteFeatures:
    facts, schema = release_of(tmp_path, SQL.replace("h USING (k)", "h ON h.k = b.k"), FEATURES)
    made = opened(tmp_path, for_sqlite(tmp_path, facts, schema), schema)
    assert isinstance(made, SqliteFeatures)
    assert made.inline
    assert made.row_wise
    return made


def test_rows_get_their_features_in_order(engine: SqliteFeatures) -> None:
    assert engine.of(ROWS, 5) == {
        "k": ["a", "b", None, "zz", "a"],
        "double": [2.0, -4.0, 6.0, 8.0, 2.0**41],
        "temp": [40.5, None, None, None, None],
        "ratio": [1.5, None, None, None, 1.5 / 2**40],
    }
    assert engine.of({name: [] for name in COLUMNS}, 0) == {name: [] for name in FEATURES}


@pytest.mark.parametrize(("value", "why"), [(2**62, "beyond 64 bit"), (2**70, "too large"), (-(2**63), "64 bit")])
def test_a_value_that_cannot_be_computed_with_is_refused_with_its_row(
    engine: SqliteFeatures, value: int, why: str
) -> None:
    with pytest.raises(RowRefused, match=rf"{why}.*at `\$.rows\[3\]`"):
        engine.of({**ROWS, "n": [1, 1, 1, value, 1]}, 5)
    assert engine.of(ROWS, 5)["double"][0] == 2.0  # it goes on


def test_the_connection_reads_its_tables_and_nothing_else(engine: SqliteFeatures, tmp_path: Path) -> None:
    for text in (
        f"ATTACH '{tmp_path}/x.db' AS x",
        "PRAGMA table_info(weather)",
        "PRAGMA temp_store_directory = '/tmp'",
        "CREATE TABLE t (x)",
        "INSERT INTO weather VALUES (1, 2, 3, 4, 5)",
        "DELETE FROM weather",
        "DROP TABLE weather",
        "SELECT load_extension('x')",
        "SELECT readfile('/etc/hostname')",
        "SELECT randomblob(1000000000)",
        "SELECT sqlite_version()",
        f"VACUUM INTO '{tmp_path}/copy.db'",
        "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT count(*) FROM r",
    ):
        with pytest.raises(sqlite3.Error, match=r"not authorized|prohibited|no such function|authorization denied"):
            engine.con.execute(text)
    assert not list(tmp_path.glob("*.db"))


def test_a_select_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_sqlite, "SECONDS", 0.1)
    reference = "SELECT 'q' AS k, range AS \"hour\" FROM range(3000)"
    sql = "SELECT row_id, 1 AS f FROM batch LEFT JOIN weather a ON a.hour + 1 = -n JOIN weather c ON a.hour < c.hour"
    facts, schema = release_of(tmp_path, sql, {"f": "number"}, reference)
    facts = for_sqlite(tmp_path, facts, schema)
    endless = (
        "SELECT 1 FROM weather a JOIN weather b JOIN weather c WHERE ?1 + ?2 + ?3 + ?4 + ?5 + ?6 = a.hour - b.hour"
    )
    (tmp_path / SQLITE_SELECT).write_text(f"{source_line(sql)}\n{endless}")
    with pytest.raises(RowRefused, match=r"longer than 0.1 s - at `\$.rows\[0\]`"):
        SqliteFeatures(tmp_path, facts, schema).of({name: values[:1] for name, values in ROWS.items()}, 1)


def test_features_are_one_row_for_each_row(tmp_path: Path) -> None:
    facts, schema = release_of(tmp_path, "SELECT row_id, n AS f FROM batch JOIN weather USING (k)", {"f": "number"})
    engine = SqliteFeatures(tmp_path, for_sqlite(tmp_path, facts, schema), schema)
    with pytest.raises(FeatureError, match="2 for row 0"):  # `a` has two rows
        engine.of(ROWS, 5)


@pytest.mark.parametrize(
    "reference", ["SELECT 'nan'::DOUBLE AS temp, 'a' AS k", "SELECT 'infinity'::TIMESTAMP AS t, 'a' AS k FROM range(9)"]
)
def test_duckdb_computes_where_sqlite_cannot_hold_a_table(
    tmp_path: Path, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, schema = release_of(tmp_path, "SELECT row_id, n AS f FROM batch", {"f": "number"})
    facts = for_sqlite(tmp_path, facts, schema)
    assert isinstance(opened(tmp_path, facts, schema), SqliteFeatures)
    fresh = tmp_path / "fresh"
    for kind in ("lookups", "references"):
        (fresh / kind).mkdir(parents=True)
    duckdb.execute(f"COPY (SELECT 'a' AS k) TO '{fresh}/lookups/history.parquet'")
    duckdb.execute(f"COPY ({reference}) TO '{fresh}/references/weather.parquet'")
    monkeypatch.setattr(features_sqlite, "MAX_ROWS", 5)
    made = opened(tmp_path, facts, schema, fresh)
    assert isinstance(made, Features)
    assert made.row_wise
    assert isinstance(opened(tmp_path, facts, schema, fresh, made), Features)
    assert isinstance(opened(tmp_path, dataclasses.replace(facts, features_engine="duckdb"), schema), Features)


def test_two_engines_compute_at_a_time(tmp_path: Path) -> None:
    facts, schema = release_of(tmp_path, SQL.replace("h USING (k)", "h ON h.k = b.k"), FEATURES)
    facts = for_sqlite(tmp_path, facts, schema)
    first = opened(tmp_path, facts, schema)
    engines, found = [first, opened(tmp_path, facts, schema, beside=first)], []
    columns = {name: values * 200 for name, values in ROWS.items()}
    threads = [threading.Thread(target=lambda one=one: found.append(one.of(columns, 1000))) for one in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1] == first.of(columns, 1000)
