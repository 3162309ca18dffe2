"""The pipeline's SELECTs: what they may see, and what is refused."""

from __future__ import annotations

import pytest

from ml_assets.errors import FeatureError
from ml_assets.graph.features import select
from ml_assets.graph.features.select import feature_types
from ml_assets.graph.ingest import validation
from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier
from ml_assets.lake.sql_guard import check_select
from ml_assets_tests.conftest import SQL, Project, failure_text, loans


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT row_id, 1 AS one FROM batch",
        "WITH b AS (SELECT * FROM batch) SELECT b.row_id, r.x FROM b LEFT JOIN regions r USING (region) -- fine",
        "SELECT row_id, (SELECT max(x) FROM regions) AS x FROM Batch;",
        "SELECT row_id, unnest([1]) AS x FROM batch, range(1)",
    ],
)
def test_selects_over_the_views_pass(sql: str) -> None:
    check_select(sql, ["batch", "regions"], "features.sql")


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT row_id FROM batches", "reads the table 'batches', which it may not see; did you mean 'batch'"),
        ("SELECT * FROM lake.loans.validated_data", "reads the table 'lake.loans.validated_data'"),
        ("SELECT * FROM batch WHERE EXISTS (FROM loans.raw_data)", "reads the table 'loans.raw_data'"),
        ("SELECT * FROM 'data/incoming/loans/loans_1.parquet'", "reads the table 'data/incoming"),
        ("SELECT * FROM read_parquet('x.parquet')", r"calls read_parquet\(\)"),
        ("SELECT * FROM query('FROM lake.loans.raw_data')", r"calls query\(\)"),
        ("SELECT row_id FROM batch WHER x", "not a SELECT that can be parsed"),
        ("DROP TABLE batch", "not a SELECT that can be parsed"),
        ("SELECT 1; SELECT 2", "must hold one SELECT"),
    ],
)
def test_what_a_select_may_not_do(sql: str, text: str) -> None:
    with pytest.raises(FeatureError, match=text):
        check_select(sql, ["batch", "regions"], "features.sql")


def test_a_syntax_error_has_its_line() -> None:
    with pytest.raises(FeatureError) as caught:
        check_select("SELECT row_id,\n  x\nFORM batch, y", ["batch"], "features.sql")
    assert "file features.sql, line 3" in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT row_id, income FROM batch WHERE income > 30", "drops rows"),
        ("SELECT b.row_id, r.unemployment FROM batch b, regions r", "doubles rows"),
        ("SELECT row_id + 1000 AS row_id, income FROM batch", "drops rows"),
        ("SELECT row_id, 1 / 0 + CAST(region AS INT) AS x FROM batch", "Could not convert string"),
    ],
)
def test_a_wrong_features_select_is_one_clear_error(copied: Project, sql: str, text: str) -> None:
    project = copied
    project.sql["features.sql"] = sql
    result = project.materialize("features", batches=["1"])
    assert not result.success
    found = failure_text(result)
    assert text in found
    assert "pipeline loans, batch 1" in found
    assert "features.sql" in found
    assert "Traceback" not in found
    assert project.value("SELECT count(*) FROM {p}.features WHERE batch = '1'") == 150  # what was good before


@pytest.mark.parametrize("column", ["late_days", "b.late_days", "late", "b.Late_Days"])
def test_a_leak_is_named_at_load(project: Project, column: str) -> None:
    project.sql["features.sql"] = f"SELECT row_id, income, {column} AS x FROM batch b"
    with pytest.raises(FeatureError, match=r"names the outcome column '\w+', which is known only after"):
        project.defs()


def test_the_batch_view_has_no_outcome_under_any_name(project: Project) -> None:
    project.write(1, loans(1).assign(undeclared="text"))
    project.sql["features.sql"] = "SELECT COLUMNS(* EXCLUDE (batch, signed)) FROM batch"
    assert project.ingest("1").success
    (row,) = project.rows("SELECT * FROM {p}.features LIMIT 1")
    assert sorted(row) == ["batch", "income", "loan", "region", "row_id"]


def test_feature_types() -> None:
    columns = {"batch": "VARCHAR", "row_id": "BIGINT", "a": "DOUBLE", "b": "BOOLEAN", "c": "VARCHAR"}
    assert feature_types(columns, "f.sql") == {"a": "number", "b": "number", "c": "category"}


def test_lookups_see_earlier_batches_only_and_at_most_so_many(copied: Project) -> None:
    project = copied
    project.sql["region_history.sql"] = (
        "SELECT region, list(DISTINCT batch ORDER BY batch) AS seen, avg(late::INT) AS late_share "
        "FROM history GROUP BY region"
    )
    assert project.materialize("lookup_region_history", "features", batches=["1", "2", "3", "4"]).success
    rows = project.rows("SELECT DISTINCT batch, seen FROM {p}.lookup_region_history WHERE batch < '5' ORDER BY batch")
    assert rows == [
        {"batch": "2", "seen": ["1"]},
        {"batch": "3", "seen": ["1", "2"]},
        {"batch": "4", "seen": ["2", "3"]},
    ]
    assert project.value("SELECT count(late_share) FROM {p}.features WHERE batch = '1'") == 0
    expected = project.value(
        "SELECT avg((late_days > 10)::INT) FROM {p}.validated_data WHERE batch IN ('2', '3') AND region = 'A'"
    )
    assert project.value("SELECT max(late_share) FROM {p}.features WHERE batch = '4' AND region = 'A'") == expected


def test_a_lookup_with_two_rows_for_a_key_is_refused(project: Project) -> None:
    project.write(1)
    project.write(2)
    project.sql["region_history.sql"] = "SELECT region, late FROM history"
    project.sql["features.sql"] = "SELECT row_id, income FROM batch"
    first = project.ingest("1")  # the first batch has no history: nothing is doubled but for the batch after it
    assert [event.step_key for event in first.all_events if event.is_step_failure] == ["loans__online_lookups"]
    assert "more than one row for a key (region)" in failure_text(first)
    assert project.value("SELECT count(*) FROM {p}.features WHERE batch = '1'") == 150
    text = failure_text(project.ingest("2"))
    assert "more than one row for a key (region)" in text
    assert "GROUP BY region" in text


def test_a_lookup_without_its_key_is_refused(project: Project) -> None:
    project.sql["region_history.sql"] = "SELECT region AS area, count(*) AS n FROM history GROUP BY 1"
    with pytest.raises(FeatureError, match="does not select its key 'region'"):
        project.defs()


def test_a_missing_reference_is_named(project: Project) -> None:
    project.write(1)
    (project.root / "data/reference/regions.csv").unlink()
    text = failure_text(project.ingest("1"))
    assert "The reference 'regions' cannot be read" in text
    assert "regions.csv" in text


def test_a_new_feature_and_a_changed_type_reshape_the_table(copied: Project) -> None:
    project = copied
    project.sql["features.sql"] = SQL["features.sql"].replace(
        "b.income,", "round(b.income)::VARCHAR AS income, 7 AS seven,"
    )
    assert project.materialize("features", batches=["1", "2"]).success
    (row,) = project.rows("SELECT * FROM {p}.features WHERE batch = '2' LIMIT 1")
    assert isinstance(row["income"], str)
    assert row["seven"] == 7


@pytest.mark.parametrize("name", ["label", "Part"])
def test_a_feature_is_not_called_like_a_column_of_the_training_set(name: str) -> None:
    with pytest.raises(FeatureError, match=f"AS {name}_"):
        feature_types({"row_id": "BIGINT", name: "DOUBLE"}, "f.sql")


def test_the_rows_of_a_batch_are_read_without_looking_through_the_others(trained: Project) -> None:
    """Their files are named: DuckLake reads the statistics of every file of the lake where a query has a condition."""
    spec = trained.spec
    with Lake(trained.paths.lake, read_only=True) as lake:
        validation.open_references(lake, spec, trained.paths)
        batches = lake.batches("loans.raw_data")
        checked = validation.check_batch(lake, spec, batches[2])
        select.open_batch(lake, spec, batches[2])
        assert select.open_history(lake, spec, batches[2], 2) == batches[:2]
        for view in ("_valid_batch", "_broken_batch", "batch", "history", *spec.lookups):
            plan = lake.fetch(f"EXPLAIN FROM {identifier(view)}")[0][1]
            assert "PARQUET" in plan, view
            assert "DUCKLAKE" not in plan, view
        for view, name in (
            ("_valid_batch", "validated_data"),
            ("batch", "validated_data"),
            ("_broken_batch", "quarantine"),
        ):
            stored = f"lake.loans.{name} WHERE batch = ?"
            rows = "SELECT count(*), sum(hash(row_id)) FROM"
            assert lake.fetch(f"{rows} {view}") == lake.fetch(f"{rows} {stored}", [batches[2]])
        seen = "SELECT batch, count(*), sum(hash(row_id)) FROM {} GROUP BY 1 ORDER BY 1"
        assert lake.fetch(seen.format("history")) == lake.fetch(
            seen.format("(FROM lake.loans.validated_data WHERE batch IN (?, ?))"), batches[:2]
        )
        assert checked.rows == lake.count("loans.raw_data", batches[2])
        assert select.open_history(lake, spec, batches[0], 2) == []
        assert lake.fetch("SELECT count(*) FROM history") == [(0,)]
