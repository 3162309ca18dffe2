"""What SQL of the YAML may reach: attacks on the guard, and what must go on working."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pytest

from ml_assets.errors import FeatureError, SpecError
from ml_assets.lake import sql_guard
from ml_assets.lake.lake import Commit, Lake, Put

VIEWS: Mapping[str, Mapping[str, str]] = {
    "batch": {"batch": "VARCHAR", "row_id": "BIGINT", "income": "DOUBLE", "region": "VARCHAR"},
    "regions": {"region": "VARCHAR", "unemployment": "DOUBLE"},
}
SECRET = "lake.loans.validated_data"
ATTACKS = {
    "qualified": f"SELECT b.row_id, v.late_days FROM batch b JOIN {SECRET} v USING (row_id)",
    "quoted qualified": 'SELECT late_days FROM "lake"."loans"."validated_data"',
    "CTE of the whole name": f'WITH "{SECRET}" AS (SELECT 1) SELECT late_days FROM batch JOIN {SECRET} USING (row_id)',
    "CTE of its last part": f"WITH validated_data AS (SELECT 1) SELECT late_days FROM {SECRET}",
    "CTE in an inner scope": "SELECT sql FROM (WITH sqlite_master AS (SELECT 1) FROM sqlite_master) x, sqlite_master",
    "CTE that reads its own name": "WITH sqlite_master AS (FROM sqlite_master) SELECT sql FROM sqlite_master",
    "CTE that comes later": "WITH a AS (SELECT sql FROM duckdb_tables), duckdb_tables AS (SELECT 1) FROM a",
    "CTE of a subquery": "SELECT (WITH duckdb_views AS (SELECT 1) SELECT 1) AS one, v.sql FROM duckdb_views v",
    "CTE of one side of a union": "(WITH duckdb_tables AS (SELECT 1 AS sql) FROM duckdb_tables) UNION ALL "
    "SELECT sql FROM duckdb_tables",
    "recursive CTE's name outside": "SELECT * FROM (WITH RECURSIVE pg_class AS (SELECT 1 AS a UNION ALL SELECT a + 1 "
    "FROM pg_class WHERE a < 2) FROM pg_class) x, pg_class",
    "subquery in WHERE": f"SELECT row_id FROM batch WHERE EXISTS (FROM {SECRET})",
    "subquery in SELECT": f"SELECT row_id, (SELECT max(late_days) FROM {SECRET}) AS x FROM batch",
    "lateral": f"SELECT b.row_id, x.late_days FROM batch b, LATERAL (FROM {SECRET} v WHERE v.row_id = b.row_id) x",
    "FROM first": f"FROM {SECRET}",
    "TABLE": f"TABLE {SECRET}",
    "union": f"SELECT row_id FROM batch UNION ALL SELECT late_days FROM {SECRET}",
    "positional join": f"SELECT * FROM batch POSITIONAL JOIN {SECRET}",
    "as-of join": f"SELECT b.row_id, v.late_days FROM batch b ASOF JOIN {SECRET} v ON b.row_id >= v.row_id",
    "pivot": f"FROM {SECRET} PIVOT (max(late_days) FOR region IN ('A'))",
    "dynamic pivot": f"PIVOT {SECRET} ON region USING max(late_days)",
    "unpivot": f"FROM {SECRET} UNPIVOT (v FOR n IN (late_days))",
    "COLUMNS()": f"SELECT COLUMNS('late.*') FROM {SECRET}",
    "window": f"SELECT max(late_days) OVER () FROM {SECRET} QUALIFY true",
    "time travel": "FROM batch AT (VERSION => 1)",
    "temp schema": "FROM temp.batch",
    "temporary table of the step": "FROM _broken",
    "recurring": "WITH RECURSIVE t(a) USING KEY (a) AS (SELECT 1 UNION FROM recurring.t) FROM t",
    "query()": f"FROM query('FROM {SECRET}')",
    "query_table()": f"FROM query_table('{SECRET}')",
    "query_table() of pieces": "FROM query_table('la' || 'ke.loans.validated_data')",
    "serialized SQL": f"FROM json_execute_serialized_sql(json_serialize_sql('FROM {SECRET}'))",
    "macro over tables": "FROM histogram(sqlite_master, sql)",
    "describe": f"FROM (DESCRIBE {SECRET})",
    "show": "FROM (SHOW ALL TABLES)",
    "summarize": "SUMMARIZE batch",
    "system view": "SELECT sql FROM sqlite_master",
    "system schema": "SELECT table_name FROM information_schema.tables",
    "system function": "SELECT path FROM duckdb_databases()",
    "pragma function": f"FROM pragma_table_info('{SECRET}')",
    "secrets": "FROM duckdb_secrets()",
    "file by name": "FROM '{file}'",
    "file by identifier": 'FROM "{file}"',
    "read_csv": "FROM read_csv('{file}')",
    "read_csv in capitals": "FROM READ_CSV('{file}')",
    "read_csv qualified": "FROM system.main.read_csv('{file}')",
    "read_text": "SELECT content FROM read_text('{file}')",
    "read_blob": "SELECT content FROM read_blob('{file}')",
    "glob": "FROM glob('{file}')",
    "sniff_csv": "FROM sniff_csv('{file}')",
    "ducklake function": "FROM ducklake_snapshots('lake')",
    "sqlite_scan": "FROM sqlite_scan('{file}', 'ducklake_table')",
    "a Python variable": "FROM some_frame",
    "setting": "SELECT current_setting('temp_directory') FROM batch",
    "variable": "SELECT getvariable('batch') FROM batch",
    "sequence": "SELECT nextval('s') FROM batch",
    "view's definition": "SELECT pg_get_viewdef(1) FROM batch",
    "two statements": f"SELECT 1 FROM batch; SELECT late_days FROM {SECRET}",
    "attach": "SELECT 1 FROM batch; ATTACH '{file}' AS stolen",
    "attach alone": "ATTACH '{file}' AS stolen",
    "copy": "COPY (FROM batch) TO '{file}'",
    "insert": f"INSERT INTO {SECRET} FROM batch",
    "out of the parenthesis": f"SELECT 1) UNION ALL (SELECT late_days FROM {SECRET}",
    "comment out of the parenthesis": f"SELECT 1 /* */) UNION ALL (SELECT late_days FROM {SECRET} -- ",
    "unclosed comment": "SELECT row_id FROM batch /*",
    "second statement after a comment": "SELECT row_id FROM batch; -- done",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_select_reaches_nothing_but_its_views(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("late_days\nsecret content\n")
    with pytest.raises(FeatureError) as caught:
        sql_guard.check_select(ATTACKS[name].replace("{file}", str(file)), VIEWS, "features.sql")
    assert "features.sql" in str(caught.value)
    assert "secret content" not in str(caught.value)


def test_where_it_is_bound_there_is_no_other_catalog_file_or_variable(tmp_path: Path) -> None:
    """The second wall, without the first. sniff_csv() alone can be bound without a look at its file."""
    file = tmp_path / "secret.csv"
    file.write_text("late_days\n77\n")
    some_frame = [77]
    reaching = [sql for sql in ATTACKS.values() if SECRET in sql or "{file}" in sql or "some_frame" in sql]
    assert len(reaching) > 30
    assert some_frame
    assert [sql for sql in reaching if _bound(sql.replace("{file}", str(file)))] == [ATTACKS["sniff_csv"]]


def _bound(sql: str) -> bool:
    try:
        return sql_guard.bind(sql, VIEWS) is not None
    except duckdb.Error:
        return False


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT row_id, 1 AS one FROM Batch;", ["row_id", "one"]),
        ("FROM batch SELECT row_id, COLUMNS('inc.*')", ["row_id", "income"]),
        ("WITH b AS (FROM batch), c AS (FROM B) SELECT c.row_id FROM c -- fine;", ["row_id"]),
        ("WITH batch AS (FROM batch) FROM batch SELECT row_id", ["row_id"]),
        ("WITH lake AS (SELECT 1 AS x) SELECT b.row_id, lake.x FROM batch b, lake", ["row_id", "x"]),
        (
            "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM t WHERE a < 3) SELECT row_id FROM batch, t",
            ["row_id"],
        ),
        (
            "SELECT row_id, r FROM batch b, LATERAL (SELECT count(*) AS r FROM regions s WHERE s.region = b.region)",
            ["row_id", "r"],
        ),
        ("SELECT row_id, unnest([1]) AS u FROM batch, range(1)", ["row_id", "u"]),
        ("FROM batch PIVOT (sum(income) FOR region IN ('A')) SELECT row_id, A", ["row_id", "A"]),
        (
            "SELECT row_id, [x + 1 FOR x IN [1]][1] AS l, extract(hour FROM TIMESTAMP '2024-01-01') AS h FROM batch",
            ["row_id", "l", "h"],
        ),
        ("SELECT row_id, lag(income) OVER (ORDER BY row_id) AS before FROM batch", ["row_id", "before"]),
        (
            "SELECT row_id, rate FROM batch LEFT JOIN (VALUES ('A', 0.1)) r(region, rate) USING (region)",
            ["row_id", "rate"],
        ),
        (
            "SELECT row_id, now() AT TIME ZONE 'Europe/Berlin' AS t, pg_typeof(income) AS p FROM batch",
            ["row_id", "t", "p"],
        ),
    ],
)
def test_an_honest_select_passes(sql: str, columns: list[str]) -> None:
    sql_guard.check_select(sql, VIEWS, "features.sql")
    assert list(sql_guard.bind(sql, VIEWS) or {}) == columns


def test_a_select_is_bound_and_never_run() -> None:
    assert sql_guard.bind("SELECT row_id, (SELECT sum(x) FROM range(100000000000000) t(x)) AS s FROM batch", VIEWS)


READS_DEEP_JSON = pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python reads JSON of that depth")


@pytest.mark.parametrize(
    ("terms", "text"),
    [pytest.param(900, "nested too deeply", marks=READS_DEEP_JSON), (1100, "expression depth limit")],
)
def test_what_is_nested_too_deeply_is_a_clear_error(terms: int, text: str) -> None:
    total = " + ".join(["income"] * terms)
    with pytest.raises(FeatureError, match=text):
        sql_guard.check_select(f"SELECT row_id, {total} AS total FROM batch", VIEWS, "features.sql")
    with pytest.raises(SpecError, match=text):
        sql_guard.check_expression(f"{total} > 1", "rules.own")


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("(SELECT max(late_days) FROM lake.loans.raw_data) > 1", "reads the table 'lake.loans.raw_data'"),
        ("EXISTS (FROM row_)", "reads the table 'row_'"),
        ("income > (SELECT count(*) FROM read_csv('/etc/passwd'))", r"calls read_csv\(\)"),
        ("income IN (FROM glob('/*'))", r"calls glob\(\)"),
        ("current_setting('temp_directory') = 'x'", r"calls current_setting\(\)"),
        ("getenv('HOME') = 'x'", r"calls getenv\(\)"),
        ("true) OR (true", "not a SQL expression"),
        ("true FROM lake.loans.raw_data", "not a SQL expression"),
        ("true, true", "not a SQL expression"),
        ("true UNION SELECT false", "not a SQL expression"),
        ("true; DROP TABLE x", "not a SQL expression"),
        ("DISTINCT income", "not a SQL expression"),
        ("COLUMNS('inc.*') > 1", r"COLUMNS\(\)"),
        ("true /*", "not a SQL expression"),
        ("", "not a SQL expression"),
    ],
)
def test_a_rule_is_one_expression_over_one_row(sql: str, text: str) -> None:
    with pytest.raises(SpecError, match=text):
        sql_guard.check_expression(sql, "rules.own")


@pytest.mark.parametrize(
    "sql",
    [
        "income > 1 -- never",
        "'10'",
        "list_contains(['a;b'], region)",
        "(SELECT max(x) FROM unnest([1, 2]) t(x)) > income",
    ],
)
def test_an_honest_rule_passes(sql: str) -> None:
    sql_guard.check_expression(sql, "rules.own")


def test_beside_a_lake_a_select_is_held_to_its_views(lake: Lake) -> None:
    """Where it is run: the connection that has the whole lake."""
    from ml_assets.graph.features.select import run_select

    lake.con.execute("CREATE TEMP TABLE rows_ AS SELECT '1' AS batch, 1::BIGINT AS row_id, 77.0 AS late_days")
    lake.replace([Put("loans.validated_data", "rows_", "1")], Commit(asset="loans/validated_data", run_id="r"))
    lake.con.execute(
        "CREATE TEMP VIEW batch AS SELECT batch, row_id FROM lake.loans.validated_data; SET VARIABLE batch = '1'"
    )
    for sql in (ATTACKS["CTE of the whole name"], f"SELECT row_id, late_days FROM {SECRET}", "FROM rows_"):
        with pytest.raises(FeatureError, match="which it may not see"):
            run_select(lake, sql, "made", "features.sql", ["batch"], hidden=["late_days"])
    run_select(lake, "SELECT row_id FROM batch", "made", "features.sql", ["batch"], hidden=["late_days"])
    assert lake.rows("FROM made") == [{"batch": "1", "row_id": 1}]
