"""SELECTs that give a row other features when other rows are computed with it, and SELECTs that do not."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from ml_assets.graph.release.packaging.row_wise import is_row_wise
from ml_assets.lake.sql_guard import syntax_tree

FLIGHTS = Path(__file__).parents[4] / "ml_assets" / "defs" / "flights" / "features.sql"

ROW_WISE = [
    "SELECT row_id, x + 1 AS f FROM batch",
    "SELECT * EXCLUDE (y), CASE WHEN x > 2 THEN 'a' ELSE y END AS f FROM batch ORDER BY row_id",
    "SELECT b.row_id, l.v AS f FROM batch b LEFT JOIN l ON l.k = b.k",
    "SELECT row_id, l.v AS f FROM l RIGHT JOIN batch USING (k)",
    "WITH b AS (SELECT *, x * 2 AS z FROM batch) SELECT row_id, z + v AS f FROM b LEFT JOIN l USING (k)",
    "SELECT * EXCLUDE (row_id), row_id, x AS f FROM batch",
    "SELECT b.row_id, l.*, x AS f FROM batch b LEFT JOIN l ON l.k = b.k",
    "SELECT row_id, f FROM (SELECT row_id, nullif(x, 3) AS f FROM batch) WHERE f > 0",
    "SELECT row_id, a.v AS f FROM batch LEFT JOIN (SELECT k, avg(v) AS v FROM l GROUP BY k) a USING (k)",
    "WITH a AS (SELECT DISTINCT k, max(v) OVER () AS v FROM l) SELECT row_id, v AS f FROM batch JOIN a USING (k)",
    "SELECT row_id, x IN (SELECT v FROM l) AS f FROM batch b",
    "SELECT row_id, EXISTS (SELECT * FROM l WHERE l.k = b.k) AS f FROM batch b",
    "SELECT row_id, l.v AS f FROM batch b ASOF LEFT JOIN l ON b.k = l.k AND b.x >= l.v",
    "SELECT row_id, s AS f FROM batch b LEFT JOIN LATERAL (SELECT sum(v * b.x) AS s FROM l) ON true",
    "SELECT row_id, list_sum(list_transform([x, 2], lambda e: e + 1)) AS f FROM batch",
]
MIXED = [
    "SELECT row_id, x - avg(x) OVER () AS f FROM batch",
    "SELECT row_id, row_number() OVER (PARTITION BY k ORDER BY x) AS f FROM batch",
    "SELECT min(row_id) AS row_id, sum(x) AS f FROM batch GROUP BY k",
    "SELECT min(row_id) AS row_id, sum(x) AS f FROM batch GROUP BY ALL",
    "SELECT b.row_id, m AS f FROM batch b LEFT JOIN (SELECT k, avg(x) AS m FROM batch GROUP BY k) USING (k)",
    "SELECT row_id, (SELECT count(*) FROM batch) AS f FROM batch",
    "SELECT row_id, (SELECT sum(b.x)) AS f FROM batch b",
    "WITH n AS (SELECT count(*) AS n FROM batch) SELECT row_id, n AS f FROM batch, n",
    "WITH b AS (SELECT * FROM batch), c AS (SELECT k, x FROM b) SELECT b.row_id, c.x AS f FROM b JOIN c USING (k)",
    "WITH b AS (SELECT * FROM batch ORDER BY x LIMIT 2) SELECT row_id, x AS f FROM b",
    "SELECT DISTINCT row_id, x AS f FROM batch",
    "SELECT DISTINCT ON (k) row_id, x AS f FROM batch",
    "SELECT row_id, x AS f FROM batch UNION SELECT row_id, x AS f FROM batch",
    "SELECT row_id, x AS f FROM batch QUALIFY row_number() OVER (PARTITION BY k ORDER BY row_id) = 1",
    "SELECT row_id, row_id % 2 AS f FROM batch",
    "SELECT row_id, r AS f FROM (SELECT row_id, row_id AS r FROM batch)",
    "SELECT row_id, r AS f FROM batch AS b(b, r)",
    "WITH c(a, b) AS (SELECT row_id, x FROM batch) SELECT a AS row_id, a + b AS f FROM c",
    "WITH c(row_id, r) AS (SELECT k AS u, row_id FROM batch) SELECT row_id, r AS f FROM c",
    "SELECT row_id, row_id_1 AS f FROM (SELECT b.row_id, b.row_id FROM batch b)",
    "SELECT row_id, row_id_1 AS f FROM (SELECT *, row_id FROM batch)",
    "SELECT row_id, row_id_1 AS f FROM (SELECT b.*, b.* FROM batch b)",
    "SELECT row_id, x IN (SELECT x FROM batch WHERE y = 'p') AS f FROM batch b",
    "SELECT row_id, EXISTS (SELECT * FROM batch c WHERE c.k = b.k AND c.x > b.x) AS f FROM batch b",
    "SELECT row_id, hash(b) AS f FROM batch b",
    "SELECT row_id, to_json(batch) AS f FROM batch",
    "SELECT * RENAME (row_id AS r), 1 AS row_id, 2 AS f FROM batch",
    "SELECT * REPLACE (1 - row_id AS row_id), x AS f FROM batch",
    "SELECT row_id, (SELECT v FROM l ORDER BY abs(v - b.row_id) LIMIT 1) AS f FROM batch b",
    "SELECT row_id, (SELECT b.row_id) AS f FROM batch b",
    "SELECT row_id, r AS f FROM batch b, LATERAL (SELECT b.row_id + v AS r FROM l)",
    "SELECT row_id, b.x AS f FROM l ASOF JOIN batch b ON b.k = l.k AND l.v >= b.x",
    "SELECT row_id, v AS f FROM batch POSITIONAL JOIN l",
    "SELECT row_id, v AS f FROM batch NATURAL JOIN l",
    "SELECT row_id, v AS f FROM batch FULL JOIN l USING (k)",
    "SELECT row_id, v AS f FROM batch JOIN l USING (row_id)",
    "SELECT row_id, x AS f FROM batch WHERE x > (SELECT median(x) FROM batch)",
    "SELECT row_id, x AS f FROM batch USING SAMPLE 2",
    "SELECT row_id, x AS f FROM batch TABLESAMPLE 50%",
    "SELECT row_id, random() AS f FROM batch",
    "SELECT row_id, x * epoch(now()) AS f FROM batch",
    "SELECT row_id, COLUMNS('r.*') AS f FROM batch",
    "SELECT row_id, weighted_avg(x, x) AS f FROM batch",
    "SELECT row_id, a AS f FROM (PIVOT batch ON k IN ('a') USING sum(x) GROUP BY row_id)",
    "SELECT row_id, x AS f FROM",
]


def test_the_demo_is_row_wise() -> None:
    assert is_row_wise(FLIGHTS.read_text())


@pytest.mark.parametrize("sql", MIXED)
def test_what_mixes_rows_is_not(sql: str) -> None:
    assert not is_row_wise(sql)
    assert sql == MIXED[-1] or not syntax_tree(sql)["error"]  # refused for what it does, not for a typing error


@pytest.mark.parametrize("sql", ROW_WISE)
def test_what_is_row_wise_gives_each_row_the_same_alone(sql: str) -> None:
    assert is_row_wise(sql)
    together = features(sql, ROWS)
    assert len(together) == len(ROWS)
    alone = [features(sql, [row])[0] for row in ROWS]
    assert [row[1:] for row in together] == [row[1:] for row in alone]


ROWS = [("a", 1.0, "p"), ("b", 2.0, "q"), ("a", 5.0, "r")]


def features(sql: str, rows: list[tuple[str, float, str]]) -> list[tuple[object, ...]]:
    """Result of the SELECT over these rows of k, x, y: row_id and f."""
    with duckdb.connect() as con:
        con.execute("CREATE TABLE batch (row_id BIGINT, k VARCHAR, x DOUBLE, y VARCHAR)")
        con.execute("CREATE TABLE l AS SELECT * FROM (VALUES ('a', 0.5), ('b', 1.5)) t(k, v)")
        con.executemany(
            "INSERT INTO batch VALUES (?, ?, ?, ?)", [(number, *row) for number, row in enumerate(rows, start=1)]
        )
        return con.execute(f"SELECT row_id, f FROM ({sql}\n) ORDER BY row_id").fetchall()
