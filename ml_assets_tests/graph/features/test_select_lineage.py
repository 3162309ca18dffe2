"""Which columns a SELECT's columns are computed from: tricky SELECTs, each bound by DuckDB, too."""

from __future__ import annotations

import duckdb
import pytest

from ml_assets.graph.features.select_lineage import select_lineage

VIEWS = {
    "batch": ["row_id", "income", "region", "order", "items", "place"],
    "regions": ["region", "rate", "size"],
    "history": ["region", "late_share"],
    "far": None,  # a reference whose file is not there
}
TABLES = """
    CREATE TABLE batch (row_id BIGINT, income DOUBLE, region VARCHAR, "order" INT, items INT[], place STRUCT(x INT));
    CREATE TABLE regions (region VARCHAR, rate DOUBLE, size INT);
    CREATE TABLE history (region VARCHAR, late_share DOUBLE);
    CREATE TABLE far (region VARCHAR, km DOUBLE)
"""
KNOWN: list[tuple[str, dict[str, str]]] = [
    # aliases and joins
    ("SELECT b.row_id, income AS i FROM batch b", {"row_id": "batch.row_id", "i": "batch.income"}),
    ("SELECT INCOME AS i, Rate FROM batch JOIN regions r ON true", {"i": "batch.income", "rate": "regions.rate"}),
    ("SELECT b.income * r.rate + 1 AS x FROM batch b, regions r", {"x": "batch.income regions.rate"}),
    ("SELECT region FROM batch JOIN regions USING (region)", {"region": "batch.region"}),
    ("SELECT region FROM batch RIGHT JOIN regions USING (region)", {"region": "regions.region"}),
    ("SELECT region FROM batch FULL JOIN regions USING (region)", {"region": "batch.region regions.region"}),
    ("SELECT region FROM batch NATURAL JOIN regions", {"region": "batch.region"}),
    ("SELECT region FROM batch b SEMI JOIN regions r ON r.region = b.region", {"region": "batch.region"}),
    ("SELECT b.x FROM batch AS b(id, x)", {"x": "batch.income"}),
    ('SELECT "order" + 1 AS "select", b.order FROM batch b', {"select": "batch.order", "order": "batch.order"}),
    ("SELECT b.place.x, place.x AS y FROM batch b", {"x": "batch.place", "y": "batch.place"}),
    ("SELECT 1 AS one, now() AS then, count(*) AS n FROM batch", {"one": "", "then": "", "n": ""}),
    ("SELECT f.km, income FROM batch LEFT JOIN far f ON true", {"km": "far.km", "income": "batch.income"}),
    # an alias of the same list; a column of that name goes first
    ("SELECT income AS i, i + 1 AS j FROM batch", {"i": "batch.income", "j": "batch.income"}),
    ("SELECT 1 AS income, income + 1 AS j FROM batch", {"income": "", "j": "batch.income"}),
    # CTEs and subqueries
    (
        "WITH a AS (SELECT region AS r, income AS i FROM batch), c AS (SELECT r, max(i) AS m FROM a GROUP BY r) "
        "SELECT m, c.r FROM c",
        {"m": "batch.income", "r": "batch.region"},
    ),
    ("WITH batch AS (SELECT income AS i FROM batch) SELECT i FROM batch", {"i": "batch.income"}),
    ("WITH a(p, q) AS (SELECT region, income FROM batch) SELECT q FROM a", {"q": "batch.income"}),
    (
        "WITH a AS (SELECT 1 AS rate) SELECT (WITH a AS (SELECT 2 AS x) SELECT x FROM a) + 1 AS n, rate FROM a",
        {"rate": ""},
    ),
    ("SELECT s.i FROM (SELECT income AS i FROM batch) s", {"i": "batch.income"}),
    ("SELECT l.y FROM batch b, LATERAL (SELECT b.income + 1 AS y) l", {"y": "batch.income"}),
    (
        "SELECT (SELECT max(late_share) FROM history h WHERE h.region = b.region) AS s FROM batch b",
        {"s": "history.late_share history.region batch.region"},
    ),
    (
        "SELECT EXISTS (SELECT * FROM history h WHERE h.region = b.region) AS e FROM batch b",
        {"e": "history.region batch.region"},
    ),
    ("SELECT region IN (SELECT region FROM history) AS known FROM batch", {"known": "batch.region history.region"}),
    # windows, aggregates, lambdas
    (
        'SELECT sum(income) FILTER (WHERE "order" > 1) OVER w AS s FROM batch WINDOW w AS (PARTITION BY region)',
        {"s": "batch.income batch.order batch.region"},
    ),
    ("SELECT row_number() OVER (ORDER BY income) AS n FROM batch", {"n": "batch.income"}),
    ("SELECT CASE WHEN income > 1 THEN region END AS c FROM batch", {"c": "batch.income batch.region"}),
    ("SELECT list_transform(items, lambda e: e + income) AS l FROM batch", {"l": "batch.items batch.income"}),
    ("SELECT [e + 1 FOR e IN items IF e > 1] AS l FROM batch", {"l": "batch.items"}),
    # stars
    (
        "SELECT b.* EXCLUDE (items, place, row_id), rate FROM batch b JOIN regions r ON true",
        {"income": "batch.income", "region": "batch.region", "order": "batch.order", "rate": "regions.rate"},
    ),
    ("FROM history", {"region": "history.region", "late_share": "history.late_share"}),
    (
        "SELECT * REPLACE (late_share * 2 AS late_share) RENAME (region AS r) FROM history",
        {"r": "history.region", "late_share": "history.late_share"},
    ),
    (
        "SELECT * FROM history JOIN regions USING (region)",
        {
            "region": "history.region",
            "late_share": "history.late_share",
            "rate": "regions.rate",
            "size": "regions.size",
        },
    ),
    # unions
    ("SELECT income AS x FROM batch UNION ALL SELECT rate FROM regions", {"x": "batch.income regions.rate"}),
    (
        "SELECT income AS x FROM batch UNION ALL BY NAME SELECT rate AS y FROM regions",
        {"x": "batch.income", "y": "regions.rate"},
    ),
    ("SELECT region FROM batch EXCEPT SELECT region FROM history", {"region": "batch.region"}),
]
# A column that the tree cannot trace is left out; those beside it are traced.
LEFT_OUT: list[tuple[str, dict[str, str]]] = [
    ("SELECT income, f.* FROM batch, far f", {"income": "batch.income"}),
    ("SELECT f.*, income AS km FROM batch, far f", {}),  # DuckDB calls the second one km_1
    ("SELECT km FROM batch, far", {}),  # of which one?
    ("SELECT km AS k, income FROM batch JOIN far ON true", {"income": "batch.income"}),
    ("SELECT 1 AS km, km + 1 AS k FROM batch, far", {"km": ""}),  # the column of `far`, not the alias
    ("SELECT (SELECT max(km + income) FROM far) AS m, row_id FROM batch", {"row_id": "batch.row_id"}),
    ("SELECT COLUMNS('r.*') FROM regions", {}),
    ("SELECT max(COLUMNS(*)) FROM regions", {}),
    ("SELECT region, unnest(items) AS item FROM batch", {"region": "batch.region"}),
    ("SELECT region, e FROM batch, unnest(items) AS u(e)", {"region": "batch.region"}),
    ("SELECT place.* FROM batch", {}),
    ("SELECT * FROM regions PIVOT (sum(size) FOR region IN ('A', 'B'))", {}),
    ("WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r WHERE a < 3) SELECT a FROM r", {}),
    ("SELECT r.region, b.region, b.region AS region_1 FROM batch b, regions r", {"region": "regions.region"}),
    ("SELECT region_1 FROM (SELECT r.region, b.region FROM batch b, regions r)", {}),
    ("SELECT count(*), income + 1 FROM batch GROUP BY ALL", {}),
    ("SELECT v.a, income FROM batch, (VALUES (1)) v(a)", {"income": "batch.income"}),
    ("SELECT b FROM batch b", {}),  # a struct of the whole row
    ("SELECT items -> 1 AS j, income FROM batch", {"income": "batch.income"}),  # the tree of a lambda
]


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(TABLES)
    return con


def words(lineage: dict[str, frozenset[tuple[str, str]]]) -> dict[str, set[str]]:
    return {name: {".".join(origin) for origin in origins} for name, origins in lineage.items()}


@pytest.mark.parametrize(("sql", "expected"), [*KNOWN, *LEFT_OUT])
def test_columns_are_traced(database: duckdb.DuckDBPyConnection, sql: str, expected: dict[str, str]) -> None:
    found = select_lineage(sql, VIEWS)
    assert words(found) == {name: set(origins.split()) for name, origins in expected.items()}
    if "->" not in sql:
        columns = database.execute(f"DESCRIBE FROM ({sql})").fetchall()
        assert {row[0] for row in columns} >= set(found)


@pytest.mark.parametrize(("sql", "expected"), KNOWN)
def test_nothing_is_lost_in_a_subquery(sql: str, expected: dict[str, str]) -> None:
    assert words(select_lineage(f"SELECT * FROM ({sql}) AS whole", VIEWS)).keys() == expected.keys()


def test_text_that_is_no_select_has_no_lineage() -> None:
    assert select_lineage("SELEC x", VIEWS) == {}
    assert select_lineage("SELECT income" + " + 1" * 5000 + " AS x FROM batch", VIEWS) == {}
