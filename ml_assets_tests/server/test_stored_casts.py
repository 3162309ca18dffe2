"""Casts in the condition of a join are computed once, where that cannot be seen."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import duckdb
import pytest

from ml_assets.server.features import Columns, Features
from ml_assets.server.stored_casts import with_stored_casts
from ml_assets_tests.server.made import ROWS, release_of

JOIN = """SELECT b.row_id, w.temp FROM batch b
    LEFT JOIN weather w ON w.k = b.k AND CAST(w."hour" AS TIMESTAMP) = b.at"""


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    made.execute("CREATE TABLE batch AS SELECT 1 AS row_id, 'a' AS k, TIMESTAMP '2013-01-06 05:00' AS at")
    made.execute("SET TimeZone = 'UTC'")
    made.execute("""CREATE TABLE weather AS
        SELECT TIMESTAMPTZ '2013-01-06 05:00:00+00' AS "hour", 'a' AS k, 4.5 AS temp, 'x' AS word""")
    return made


def test_a_release_computes_the_same_from_a_stored_column(tmp_path: Path) -> None:
    facts, schema = release_of(tmp_path, JOIN, {"temp": "number"})
    features, rows = Features(tmp_path, facts, schema), cast(Columns, ROWS)
    assert "hour as TIMESTAMP" in {row[0] for row in features.con.execute("DESCRIBE weather").fetchall()}
    assert features.of(rows, 5) == {"temp": [40.5, None, None, None, None]}
    assert Features(tmp_path, facts, schema, beside=features).of(rows, 5) == features.of(rows, 5)


def test_the_select_reads_the_column_and_gives_the_same(con: duckdb.DuckDBPyConnection) -> None:
    before = con.execute(JOIN).fetchall()
    made = with_stored_casts(con, JOIN, ["Weather"])
    assert "CAST" not in made
    assert con.execute(made).fetchall() == before == [(1, 4.5)]
    assert with_stored_casts(con, JOIN, ["weather"]) == made  # stored once
    assert len(con.execute("DESCRIBE weather").fetchall()) == 5


@pytest.mark.parametrize(
    "sql",
    [
        JOIN.replace("w.temp", "w.*"),
        JOIN.replace("w.temp", "w"),
        JOIN.replace("w.temp", "(SELECT w.temp FROM batch w2, weather w LIMIT 1) AS temp"),
        f"WITH w AS (SELECT 1) {JOIN}",
        JOIN.replace("CAST", "TRY_CAST"),
        JOIN.replace('CAST(w."hour" AS TIMESTAMP) = b.at', "CAST(w.word AS INTEGER) = 1"),
        JOIN.replace("weather w ON", '(SELECT k, "hour", temp FROM weather) w ON'),
        "SELECT CAST(w.k AS VARCHAR) AS row_id FROM weather w",
        "SELECT FROM (",
    ],
)
def test_any_other_select_stays_as_it_is(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert with_stored_casts(con, sql, ["weather"]) == sql
    assert len(con.execute("DESCRIBE weather").fetchall()) == 4
