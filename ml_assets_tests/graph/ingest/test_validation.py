"""Each rule finds the rows that break it, and no others."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import pytest

from ml_assets.errors import BatchRefused, SpecError
from ml_assets.graph.ingest import expectations, validation
from ml_assets.graph.ingest.validation import Broken, Checked
from ml_assets.lake.lake import Lake
from ml_assets.spec import PipelineSpec
from ml_assets_tests.conftest import SPEC, Project, check_results, failure_text, loans


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
    columns = [
        *SPEC["columns"],
        {"name": 'odd "name" $value', "type": "integer", "min": 1, "nullable": True, "outcome": True},
    ]
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
    validation.refuse_if_intolerable(spec(), Checked(150, 30, broken))
    with pytest.raises(BatchRefused, match=r"20\.7% of the rows break a rule; 20\.0% are tolerated") as caught:
        validation.refuse_if_intolerable(spec(), Checked(150, 31, broken))
    assert "column income" in str(caught.value)
    assert "income.min (30 rows, such as row_id 1, 2)" in str(caught.value)


def quarantined(project: Project, batch: str) -> dict[int, list[str]]:
    rows = project.rows("SELECT row_id, reasons FROM {p}.quarantine WHERE batch = ? ORDER BY row_id", [batch])
    return {row["row_id"]: row["reasons"] for row in rows}


def test_a_value_must_be_in_its_reference(project: Project) -> None:
    project.spec_dict["columns"][2]["references"] = "regions.region"
    regions = project.root / "data/reference/regions.csv"
    regions.write_text("region,unemployment\nA,0.02\nB,0.05\n,0.5\n")  # a missing value there excuses nothing
    frame = loans(1, rows=10).assign(region=[*"ABABABABAC"])
    project.write(1, frame)
    assert project.ingest("1", until="quarantine").success
    assert quarantined(project, "1") == {10: ["region.references"]}
    regions.write_text("name\nA\n")
    assert "no column 'region'; valid: name" in failure_text(project.ingest("1", until="quarantine"))


def test_a_key_may_have_to_be_new_against_the_batches_before(project: Project) -> None:
    project.spec_dict |= {"key_batches": 2, "tolerate": {"quarantined": 1.0}}
    project.write(1, loans(1, rows=5))
    project.write(2, loans(2, rows=5).assign(loan=[1001, 2, 3, 4, 5]))  # 1001 is of batch 1
    project.write(3, loans(3, rows=5))
    project.write(4, loans(4, rows=5).assign(loan=[1002, 2, 7, 7, 8]))  # batch 1 is too long ago
    assert project.ingest("1", "2", "3", "4", until="quarantine").success
    assert [quarantined(project, batch) for batch in "1234"] == [
        {},
        {1: ["key.new"]},
        {},
        {2: ["key.new"], 4: ["key.unique"]},
    ]


def test_a_batch_of_an_unexpected_size_or_age_is_refused_or_warned_about(project: Project) -> None:
    project.spec_dict["expect"] = {
        "rows": {"min": 5, "max_change": 0.5, "batches": 2},
        "newest": {"column": "signed", "max_age_days": 30},
    }
    for batch, rows in ((1, 20), (2, 20), (3, 4), (4, 15)):
        file = project.write(batch, loans(batch, rows=rows))
        day = pd.Timestamp("2024-01-05" if batch < 4 else "2024-06-01").timestamp()
        os.utime(file, (day, day))
    result = project.ingest("1", "2", "3", "4", until="quarantine")
    validated = "SELECT DISTINCT batch FROM {p}.validated_data ORDER BY 1"
    assert [row["batch"] for row in project.rows(validated)] == ["1", "2"]
    checks = check_results(result)
    assert [checks[("validated_data", "as_expected", batch)] for batch in "1234"] == [True, True, False, False]
    errors = project.rows("SELECT batch, error FROM {p}.ingest_errors WHERE asset = 'loans/validated_data' ORDER BY 1")
    assert "rows.min is 5" in errors[0]["error"]
    assert "newest.max_age_days is 30" in errors[1]["error"]
    with Lake(project.paths.lake, read_only=True) as lake:
        found = [one.expectation for one in expectations.unmet(lake, project.spec, "3")]
    assert found == ["rows.min", "rows.max_change"]
    project.spec_dict["expect"]["otherwise"] = "warn"
    result = project.ingest("3", until="quarantine")
    assert [row["batch"] for row in project.rows(validated)] == ["1", "2", "3"]
    assert not check_results(result)[("validated_data", "as_expected", "3")]


def test_a_silent_source_is_overdue_in_dagster(project: Project) -> None:
    project.spec_dict["expect"] = {"max_silence_days": 2}
    node = project.defs().resolve_asset_graph().get(dg.AssetKey(["loans", "raw_data"]))
    assert node.freshness_policy == dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=2))
