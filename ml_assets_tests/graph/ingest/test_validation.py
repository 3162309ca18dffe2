"""Each rule finds the rows that break it, and no others."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from ml_assets.errors import BatchRefused, SpecError
from ml_assets.graph.ingest import validation
from ml_assets.graph.ingest.validation import Broken
from ml_assets.spec import PipelineSpec
from ml_assets_tests.conftest import SPEC


def spec(**changes: Any) -> PipelineSpec:
    return PipelineSpec.model_validate({**SPEC, **changes})


def reasons(con: duckdb.DuckDBPyConnection, made: PipelineSpec, rows: str) -> list[list[str]]:
    con.execute(
        f"""CREATE OR REPLACE TABLE raw AS SELECT row_number() OVER () AS row_id, *, []::VARCHAR[] AS unreadable
        FROM (VALUES {rows}) t(loan, income, region, signed, late_days)"""
    )
    sql, values = validation.checked_select(made, "raw")
    return [row[0] for row in con.execute(f"SELECT reasons FROM ({sql}) ORDER BY row_id", values).fetchall()]


GOOD = "(1, 5.0, 'A', TIMESTAMP '2024-01-01', 3.0)"


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("(2, 5.0, 'A', TIMESTAMP '2024-01-01', 3.0)", []),
        ("(NULL, 5.0, 'A', TIMESTAMP '2024-01-01', 3.0)", ["loan.not_null"]),
        ("(2, NULL, 'A', TIMESTAMP '2024-01-01', NULL)", []),
        ("(2, -1.0, 'A', TIMESTAMP '2024-01-01', 3.0)", ["income.min"]),
        ("(2, 5.0, 'AB', TIMESTAMP '2024-01-01', 3.0)", ["region.regex"]),
        ("(2, 5.0, 'A', TIMESTAMP '2024-01-01', -2.0)", ["paid_or_open"]),
        ("(0, -1.0, 'a', NULL, -1.0)", ["loan.min", "income.min", "region.regex", "signed.not_null", "paid_or_open"]),
        ("(1, 5.0, 'B', TIMESTAMP '2024-01-01', 3.0)", ["key.unique"]),
    ],
)
def test_rules(row: str, found: list[str]) -> None:
    with duckdb.connect() as con:
        assert reasons(con, spec(), f"{GOOD}, {row}") == [[], found]


def test_allowed_and_max_take_values_as_parameters() -> None:
    columns = [dict(column) for column in SPEC["columns"]]
    columns[2] = {"name": "region", "type": "string", "allowed": ["A", "it's"]}
    columns[1] = {"name": "income", "type": "number", "max": 10}
    with duckdb.connect() as con:
        rows = GOOD + ", (2, 11.0, 'it''s', TIMESTAMP '2024-01-01', 3.0), (3, 1.0, 'C', TIMESTAMP '2024-01-01', 3.0)"
        assert reasons(con, spec(columns=columns), rows) == [[], ["income.max"], ["region.allowed"]]


def test_names_of_columns_are_quoted() -> None:
    columns = [*SPEC["columns"], {"name": 'odd "name" $value', "type": "integer", "min": 1, "nullable": True}]
    rules = validation.rules(spec(columns=columns))
    assert next(rule for rule in rules if rule.name.startswith("odd")).sql == '"odd ""name"" $value" >= $value'


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rules": {"typo": "late_day > 1"}}, "rules.typo is not a SQL expression"),
        ({"rules": {"typo": "late_days >"}}, "rules.typo is not a SQL expression"),
        ({"target": {"name": "late", "sql": "lat_days > 1", "kind": "binary"}}, "target.sql is not a SQL expression"),
    ],
)
def test_sql_that_cannot_work_is_refused_without_data(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError, match=text) as caught:
        validation.check_sql(spec(**changes))
    assert "late_day" in str(caught.value)


def test_a_comment_in_a_rule_does_not_swallow_the_rest() -> None:
    made = spec(rules={"noted": "late_days >= 0 -- never negative"})
    validation.check_sql(made)
    with duckdb.connect() as con:
        assert reasons(con, made, "(1, 5.0, 'A', TIMESTAMP '2024-01-01', -3.0)") == [["noted"]]


def test_tolerance() -> None:
    broken = [Broken("income.min", 30, [1, 2])]
    validation.refuse_if_intolerable(spec(), 150, 30, broken)
    with pytest.raises(BatchRefused, match=r"20\.7% of the rows break a rule; 20\.0% are tolerated") as caught:
        validation.refuse_if_intolerable(spec(), 150, 31, broken)
    assert "column income" in str(caught.value)
    assert "income.min (30 rows, such as row_id 1, 2)" in str(caught.value)
    with pytest.raises(BatchRefused, match="no rows"):
        validation.refuse_if_intolerable(spec(), 0, 0, [])
