"""SELECTs on SQLite: the same features as on DuckDB, or a reason why they are not translated."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_assets.graph.release.packaging.sqlite_select import Untranslatable
from ml_assets.server.features import Features
from ml_assets.server.features_sqlite import SqliteFeatures
from ml_assets.server.parity import difference
from ml_assets_tests.server.made import ROWS, for_sqlite, release_of

SAME = [
    "b.n + 1",
    "b.n - b.x * 2",
    "b.n / 3",
    "b.n // 2 + b.n % 3",
    "-b.n",
    "abs(b.x) + round(b.x, 1) + floor(b.x)",
    "CASE WHEN b.ok THEN 1 WHEN b.x > 0 OR b.k IS NULL THEN 2 ELSE b.x END",
    "coalesce(b.x, h.share, 0.25)",
    "CAST(b.ok AS INTEGER)",
    "b.x IS NULL",
    "b.k IN ('a', 'zz') AND NOT b.ok",
    "b.n BETWEEN 1 AND 3",
    "b.k IS DISTINCT FROM h.k",
    "length(lower(b.k) || '_x')",
    "b.k LIKE 'z%' OR contains(b.k, 'b')",
    "greatest(b.n, h.seen, 2)",
    "nullif(b.n, 3)",
    "year(b.day) * 100 + month(b.at)",
    "date_part('hour', b.at) + extract(dow FROM b.day)",
    "date_diff('day', b.day, b.at)",
    "CAST(b.at AS DATE) = b.day",
    "b.at >= TIMESTAMP '2013-01-06 06:00:00'",
    "b.day > DATE '2000-01-01'",
    "w.temp + CAST(w.dry AS INTEGER)",
    "date_diff('month', w.since, b.day)",
    "if(h.seen > 3, h.share, NULL)",
    "b.n + coalesce(b.x, 1)",
    "b.n + CASE WHEN b.ok THEN 1 ELSE b.x END",
    "greatest(b.n, b.x) * 3",
    "b.n = b.x OR b.n > 1.5",
]
SOURCE = """FROM batch b LEFT JOIN history h ON h.k = b.k
LEFT JOIN weather w ON w.k = b.k AND w.hour = b.at"""
SHAPES = [
    "WITH c AS (SELECT *, n * 2 AS m FROM batch) SELECT c.*, m + n AS f FROM c",
    "SELECT * EXCLUDE (x) REPLACE (n + 1 AS n), n AS f FROM batch ORDER BY row_id",
    "SELECT row_id, n + 1 AS m, m * 2 AS f FROM batch",
    "SELECT row_id, share AS f FROM batch LEFT JOIN history USING (k)",
    "SELECT row_id, K AS i, Seen AS f FROM BATCH LEFT JOIN (SELECT k AS j, seen FROM history WHERE seen > 3) ON j = k",
    'SELECT row_id, n AS f, k AS "it`s ""k""" FROM batch',
]
UNKNOWN = {
    "hash(b.k)": "hash()",
    "b.day + 1": "+ of a time",
    "b.day - b.day": "- of a time",
    "b.day > '2013-01-01'": "comparison of a text with a time",
    "(SELECT max(temp) FROM weather)": "a SUBQUERY",
    "b.n::UTINYINT": "cast of a integer to UTINYINT",
    "TRY_CAST(b.k AS INTEGER)": "cast of a text to INTEGER",
    "[b.n][1]": "list_value()",
    "b.k COLLATE NOCASE = 'A'": "COLLATE",
    "regexp_matches(b.k, 'a')": "regexp_matches()",
    "b.x = 100000000000000000000": "HUGEINT",
}


@pytest.mark.parametrize("expression", SAME)
def test_expressions_give_the_same(tmp_path: Path, expression: str) -> None:
    assert_same(tmp_path, f"SELECT b.row_id, {expression} AS f {SOURCE}")


@pytest.mark.parametrize("sql", SHAPES)
def test_shapes_of_a_select_give_the_same(tmp_path: Path, sql: str) -> None:
    assert_same(tmp_path, sql)


def assert_same(folder: Path, sql: str) -> None:
    facts, schema = release_of(folder, sql, {"f": "number"})
    facts = for_sqlite(folder, facts, schema)
    assert repr(SqliteFeatures(folder, facts, schema).of(ROWS, 5)) == repr(Features(folder, facts, schema).of(ROWS, 5))
    assert difference(folder, facts, schema, ROWS, 5) == ""


@pytest.mark.parametrize("expression", UNKNOWN)
def test_what_is_not_known_to_be_the_same_is_not_translated(tmp_path: Path, expression: str) -> None:
    facts, schema = release_of(tmp_path, f"SELECT b.row_id, {expression} AS f FROM batch b", {"f": "number"})
    Features(tmp_path, facts, schema)  # DuckDB computes it
    with pytest.raises(Untranslatable) as caught:
        for_sqlite(tmp_path, facts, schema)
    assert UNKNOWN[expression] in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (
            "SELECT row_id, v AS f FROM batch LEFT JOIN (SELECT k, avg(temp) AS v FROM weather GROUP BY k) USING (k)",
            "group",
        ),
        ('SELECT row_id, temp AS f FROM batch ASOF LEFT JOIN weather w ON "at" >= w.hour', "ASOF"),
        ("SELECT row_id, temp AS f FROM weather RIGHT JOIN batch USING (k)", "RIGHT"),
        (
            "SELECT batch.*, history.*, n AS f FROM batch LEFT JOIN history ON history.k = batch.k",
            "two columns are called k",
        ),
        ("SELECT row_id, ok AS f FROM batch", ""),
    ],
)
def test_shapes_that_are_not_translated(tmp_path: Path, sql: str, why: str) -> None:
    facts, schema = release_of(tmp_path, sql, {"f": "number" if why else "category"})
    with pytest.raises(Untranslatable, match=why or "the category f is no text"):
        for_sqlite(tmp_path, facts, schema)
