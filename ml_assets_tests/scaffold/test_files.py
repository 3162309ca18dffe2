"""What names a batch, and how files that nobody has described are read."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from ml_assets.errors import SourceError
from ml_assets.scaffold.files import batch_of, find, name_pattern, read


@pytest.mark.parametrize(
    ("names", "pattern", "batches"),
    [
        (["flights_2013-04.parquet", "flights_2013-05.parquet"], r"flights_(?P<batch>\d{4}-\d{2})\.parquet", "2013-04"),
        (["loans_1.csv", "loans_2.csv", "loans_10.csv"], r"loans_(?P<batch>\d+)\.csv", "1"),
        (["loans1.csv", "loans2.csv"], r"loans(?P<batch>\d+)\.csv", "1"),
        (["a_2013-01-01.csv", "a_2013-02-01.csv"], r"a_(?P<batch>\d{4}-\d{2}-\d{2})\.csv", "2013-01-01"),
        (["2013-01_sales.csv.gz", "2013-02_sales.csv.gz"], r"(?P<batch>\d{4}-\d{2})_sales\.csv\.gz", "2013-01"),
        (["v2_01.csv", "v2_02.csv"], r"v2_(?P<batch>\d{2})\.csv", "01"),
        (["north.csv", "south.csv"], r"(?P<batch>[A-Za-z]+)\.csv", "north"),
        (["x.csv", "x_2.csv"], r"(?P<batch>.+)\.csv", "x"),
        (["sales (a+b) 1.csv", "sales (a+b) 2.csv"], r"sales \(a\+b\) (?P<batch>\d+)\.csv", "1"),
        (["churn.csv"], r"(?P<batch>churn.*)\.csv", "churn"),
    ],
)
def test_the_varying_part_of_names_is_the_batch(names: list[str], pattern: str, batches: str) -> None:
    assert name_pattern(names) == pattern
    assert batch_of(pattern, names[0]) == batches


def test_one_file_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    for name in ("churn.csv", "churn_test.csv", "notes.txt"):
        (tmp_path / name).write_text("a\n1\n")
    found = find("churn.csv", tmp_path)
    assert (found.pattern, found.others) == (r"(?P<batch>churn)\.csv", 2)
    assert find("churn*.csv", tmp_path).batches == {
        str(tmp_path / "churn.csv"): "churn",
        str(tmp_path / "churn_test.csv"): "churn_test",
    }


def test_types_are_those_that_every_value_can_be_read_as(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "whole,number,code,day,time,us_day,flag,answer,dirty,free\n"
        "1,1.5,007,2024-01-31,2024-01-31 10:00:00,01/31/2024,true,yes,1,x\n"
        "2,2,012,2024-02-01,2024-02-01 00:00:00,02/01/2024,false,no,2,y\n"
        ",nan,100,,,,,,NA,\n" + "3,3,100,,,,true,no,4,z\n" * 3
    )
    with duckdb.connect() as con:
        found = read(con, find("a.csv", tmp_path))
        assert found.types == {
            "whole": "integer",
            "number": "number",
            "code": "string",
            "day": "date",
            "time": "timestamp",
            "us_day": "string",  # a cast cannot read it, so a pipeline could not either
            "flag": "boolean",
            "answer": "string",
            "dirty": "string",
            "free": "string",
        }
        assert found.almost == {"dirty": pytest.approx(5 / 6)}
        assert con.execute("SELECT count(*), count(number), min(batch) FROM rows_").fetchall() == [(6, 5, "a")]


def test_columns_that_cannot_be_declared_are_left_out(tmp_path: Path) -> None:
    pd.DataFrame({"batch": [1, 2], "row_id": [7, 8], "many": [[1], [2]], "two\nlines": [1, 2], "y": [0, 1]}).to_parquet(
        tmp_path / "a.parquet"
    )
    with duckdb.connect() as con:
        found = read(con, find("a.parquet", tmp_path))
    assert list(found.types) == ["y"]
    assert set(found.left_out) == {"batch", "row_id", "many", "two\nlines"}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("lons", "did you mean 'loans'?"),
        ("nowhere/loans", "no folder"),
        ("text.txt", "text.txt"),
        ("loans/*.parquet", "no"),
        ("*/one.csv", "several folders"),
        ("empty.csv", "0 bytes"),
    ],
)
def test_what_cannot_be_found(tmp_path: Path, path: str, says: str) -> None:
    for name in ("loans/one.csv", "others/one.csv", "text.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a\n1\n")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(SourceError, match=says.replace("?", r"\?")):
        find(path, tmp_path)


def test_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with duckdb.connect() as con, pytest.raises(SourceError, match="cannot be read"):
        read(con, find("a.parquet", tmp_path))
