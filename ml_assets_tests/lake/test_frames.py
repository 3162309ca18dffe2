"""DataFrames, Arrow tables and relations to DuckDB and back, without loss."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ml_assets.errors import LakeError
from ml_assets.lake import frames

BIG = 2**60 + 1  # a float would not hold it


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def test_dtypes_of_pandas_are_stored_without_loss(con: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame(
        {
            "whole": pd.array([BIG, None], "Int64"),
            "unsigned": np.arange(2, dtype="uint32"),
            "small": np.ones(2, "float16"),
            "flag": pd.array([True, None], "boolean"),
            "either": [True, None],
            "word": pd.array(["x", None], "string"),
            "kind": pd.Categorical(["a", None], categories=["b", "a"]),
            "code": pd.Categorical([7, 8]),
            "never": [None, None],
            "share": [0.5, np.nan],
            "ratio": pd.array([0.0, 1.0], "Float64") / pd.array([0.0, 1.0], "Float64"),
        },
        index=pd.Index([3, 4], name="row_id"),
    )
    frames.store(con, "made", frame)
    first, second = con.execute("FROM made").fetchall()
    assert first == (3, BIG, 0, 1.0, True, True, "x", "a", 7, None, 0.5, None)
    assert second == (4, None, 1, 1.0, None, None, None, None, 8, None, None, 1.0)
    kinds = dict(con.execute("SELECT column_name, column_type FROM (DESCRIBE made)").fetchall())
    assert kinds["never"] == kinds["kind"] == "VARCHAR"
    assert kinds["either"] == "BOOLEAN"
    assert kinds["unsigned"] == "BIGINT"


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (pd.DataFrame({"x": [1, "a"]}), "Conversion failed for column x"),
        (pd.DataFrame({"x": [2**70, 1]}), "too large"),
        (pd.DataFrame({"x": [object()]}), "did not recognize Python value type"),
        (pd.DataFrame({"x": np.array([2**64 - 1], "uint64")}), "out of range"),
        (pd.DataFrame([[1, 2]], columns=["i", "I"]), "found: 'I' among 'i', 'I'"),
        (pd.DataFrame([[1]]), "found: 0 among 0"),
    ],
    ids=["mixed", "too large", "object", "unsigned", "same name", "no name"],
)
def test_what_would_lose_something_is_refused(con: duckdb.DuckDBPyConnection, frame: pd.DataFrame, text: str) -> None:
    with pytest.raises(LakeError) as caught:
        frames.store(con, "made", frame)
    assert text in str(caught.value)


@pytest.mark.parametrize("make", [lambda sql: sql.to_arrow_table(), lambda sql: sql], ids=["table", "relation"])
def test_tables_and_relations_are_stored(con: duckdb.DuckDBPyConnection, make: Any) -> None:
    frames.store(con, "made", make(duckdb.connect().sql("SELECT 1 AS i, 'a' AS word, 'nan'::DOUBLE AS x")))
    assert con.execute("SELECT i, word, isnan(x) FROM made").fetchall() == [(1, "a", True)]


def test_dtypes_follow_from_types_and_not_from_values(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "CREATE TABLE t AS SELECT * FROM (VALUES "
        f"({BIG}, 1::BIGINT, true, 'a', 1.5, 0.5::DOUBLE, DATE '2024-01-01', TIMESTAMP '2024-01-01'), "
        "(NULL, 2, NULL, NULL, NULL, NULL, NULL, NULL)) v(a, b, c, d, e, f, g, h)"
    )
    expected = ["Int64", "int64", "boolean", "object", "float64", "float64", "datetime64[ms]", "datetime64[us]"]
    frame = frames.to_pandas(con, "FROM t ORDER BY b", complete=["b"])
    assert [str(kind) for kind in frame.dtypes] == expected
    assert frame["a"].max() == BIG
    empty = frames.to_pandas(con, "FROM t WHERE false", complete=["b"])
    assert list(empty.dtypes) == list(frame.dtypes)
    frames.store(con, "again", frame.drop(columns=["e", "g"]))
    assert con.execute("FROM again").fetchall() == con.execute("SELECT * EXCLUDE (e, g) FROM t").fetchall()
    assert pa.types.is_int64(con.execute("SELECT a FROM again").to_arrow_table().schema.field("a").type)
