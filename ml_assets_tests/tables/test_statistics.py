"""Statistics of columns against what numpy says, on every type, and how they are kept."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables.statistics import PROBABILITIES, STATISTICS, column_statistics

TABLE = """
    SELECT i AS row_id, CASE WHEN i % 4 > 0 THEN i::DOUBLE END AS amount,
        CASE i WHEN 0 THEN 'nan'::DOUBLE WHEN 1 THEN 'inf'::DOUBLE WHEN 2 THEN 1e300 ELSE 5 END AS odd,
        i % 3 AS grade, CASE WHEN i % 5 = 0 THEN 'a' ELSE 'b' || i % 50 END AS "the code", i % 2 = 0 AS flag,
        DATE '2024-01-01' + i::INT AS day, (i / 8)::DECIMAL(9, 2) AS price, [i] AS list, NULL::BIGINT AS nothing,
        ('x' || i % 2)::ENUM ('x0', 'x1') AS side
    FROM range({rows}) r(i)"""


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, object]]:
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE t AS {TABLE.format(rows=1000)}")
        columns = {name: kind for name, kind, *_ in con.execute("DESCRIBE t").fetchall() if name != "row_id"}
        return {str(row["column_name"]): row for row in column_statistics(con, "t", columns)}


def test_numbers_are_as_numpy_says(found: dict[str, dict[str, object]]) -> None:
    values = np.array([i for i in range(1000) if i % 4], dtype=float)
    amount = found["amount"]
    assert (amount["row_count"], amount["null_count"], amount["sampled_rows"]) == (1000, 250, 1000)
    assert (amount["min_value"], amount["max_value"]) == ("1.0", "999.0")
    assert amount["mean"] == pytest.approx(values.mean())
    assert amount["std"] == pytest.approx(values.std(ddof=1))
    assert amount["quantiles"] == pytest.approx(np.quantile(values, PROBABILITIES))
    assert abs(amount["distinct_count"] - 750) < 150  # type: ignore[operator]
    bins = amount["histogram"]
    assert len(bins) == 20  # type: ignore[arg-type]
    assert sum(one["count"] for one in bins) == 750  # type: ignore[attr-defined]
    for one in bins:  # type: ignore[attr-defined]
        inside = (values > one["low"]) & (values < one["high"])
        assert inside.sum() <= one["count"] <= inside.sum() + 2
    assert (bins[0]["low"], bins[-1]["high"]) == (1, 999)  # type: ignore[index]
    assert amount["top_values"] is None  # more than 20 different ones


def test_frequent_values(found: dict[str, dict[str, object]]) -> None:
    assert found["grade"]["top_values"] == [
        {"value": "0", "count": 334},
        {"value": "1", "count": 333},
        {"value": "2", "count": 333},
    ]
    text = found["the code"]
    assert text["top_values"][0] == {"value": "a", "count": 200}  # type: ignore[index]
    assert len(text["top_values"]) == 20  # type: ignore[arg-type]
    assert (text["quantiles"], text["histogram"], text["mean"]) == (None, None, None)
    assert found["flag"]["top_values"] == [{"value": "false", "count": 500}, {"value": "true", "count": 500}]
    assert found["flag"]["mean"] == 0.5
    assert [one["value"] for one in found["side"]["top_values"]] == ["x0", "x1"]  # type: ignore[attr-defined]


def test_odd_values_and_types(found: dict[str, dict[str, object]]) -> None:
    odd = found["odd"]
    assert (odd["null_count"], odd["mean"], odd["std"]) == (1, 5, 0)  # NaN is missing; inf and 1e300 have no variance
    assert odd["max_value"] == "inf"
    assert found["day"]["min_value"] == "2024-01-01"
    assert found["price"]["mean"] == pytest.approx(np.mean(np.round(np.arange(1000) / 8 + 1e-9, 2)), abs=1e-3)
    assert (found["list"]["null_count"], found["list"]["min_value"]) == (0, None)
    assert (found["nothing"]["null_count"], found["nothing"]["quantiles"], found["nothing"]["histogram"]) == (
        1000,
        None,
        None,
    )


def test_a_sample_is_the_same_one_in_any_order() -> None:
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE t AS {TABLE.format(rows=20_000)}")
        con.execute("CREATE TABLE shuffled AS FROM t ORDER BY hash(row_id)")
        columns = {"amount": "DOUBLE", "the code": "VARCHAR", "flag": "BOOLEAN"}
        one = column_statistics(con, "t", columns, sample_rows=2000)
        assert one == column_statistics(con, "shuffled", columns, sample_rows=2000)
    assert one[0]["row_count"] == 20_000
    assert 1800 < one[0]["sampled_rows"] < 2200
    assert one[0]["quantiles"][4] == pytest.approx(10_000, rel=0.1)


def test_rows_are_kept_in_the_lake(lake: Lake, found: dict[str, dict[str, object]]) -> None:
    rows = [{"batch": "1", **row} for row in found.values()]
    lake.append([STATISTICS.rows("loans", rows)], Commit("loans/validated_data"))
    kept = lake.rows("SELECT * FROM lake.loans.statistics WHERE column_name = 'grade'")[0]
    assert kept == {"batch": "1", **found["grade"]}
    frequent = lake.rows(
        "SELECT unnest(top_values, recursive := true) FROM lake.loans.statistics WHERE column_name = 'flag'"
    )
    assert frequent == [{"value": "false", "count": 500}, {"value": "true", "count": 500}]


def test_nothing_to_look_at() -> None:
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE t AS {TABLE.format(rows=0)}")
        assert column_statistics(con, "t", {}) == []
        (row,) = column_statistics(con, "t", {"amount": "DOUBLE"})
        assert (row["row_count"], row["mean"], row["histogram"], row["top_values"]) == (0, None, None, None)
