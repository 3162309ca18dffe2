"""How files that nobody has described are read: types, words for missing values, and what is no table."""

from __future__ import annotations

import codecs
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from ml_assets.errors import SourceError
from ml_assets.scaffold.files import find
from ml_assets.scaffold.reading import ReadTable, read


def read_all(folder: Path, pattern: str = "*.csv", target: str = "") -> ReadTable:
    with duckdb.connect() as con:
        return read(con, find(pattern, folder), target)


def test_types_are_those_that_every_value_can_be_read_as(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "whole,number,code,day,time,us_day,flag,answer,dirty,free\n"
        "1,1.5,007,2024-01-31,2024-01-31 10:00:00,01/31/2024,true,yes,1,x\n"
        "2,2,012,2024-02-01,2024-02-01 00:00:00,02/01/2024,false,no,2,y\n"
        ",nan,100,,,,,,see note,\n" + "3,3,100,,,,true,no,4,z\n" * 3
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
        assert {name: (one.word, one.share) for name, one in found.styles.items()} == {
            "us_day": ("date", 1),
            "dirty": ("number", pytest.approx(5 / 6)),
        }
        assert found.styles["dirty"].unread == ("see note",)
        assert con.execute("SELECT count(*), count(number), min(batch) FROM rows_").fetchall() == [(6, 5, "a")]


def test_a_column_is_judged_by_all_of_its_rows(tmp_path: Path) -> None:
    rows = ["x,late,y"] + ["1,,1"] * 1500 + ["2.5,7,2"] * 20
    (tmp_path / "a.csv").write_text("\n".join(rows))
    assert read_all(tmp_path).types == {"x": "number", "late": "integer", "y": "integer"}


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1,343.64", "900", "-12.5"], [1343.64, 900, -12.5]),
        (["12%", "3.5 %"], [12, 3.5]),
        (["$134.36", "-$1,200", " $7 "], [134.36, -1200, 7]),
        (["1.343,64", "0,5", "12"], [1343.64, 0.5, 12]),
        (["1 343,64 €", "12 €"], [1343.64, 12]),
        (["31/12/2010", "1/2/2010"], ["2010-12-31", "2010-02-01"]),
        (["12/31/2010", "2/1/2010"], ["2010-12-31", "2010-02-01"]),
        (["Jan 01, 2010", "Dec 31, 2011"], ["2010-01-01", "2011-12-31"]),
        (["31.12.10", "1.2.99"], ["2010-12-31", "1999-02-01"]),
        (["31-Dec-2010 23:15", "01-Feb-2010 00:00"], ["2010-12-31 23:15:00", "2010-02-01 00:00:00"]),
    ],
)
def test_text_that_is_numbers_or_dates(tmp_path: Path, texts: list[str], values: list[object]) -> None:
    pd.DataFrame({"v": texts, "y": range(len(texts))}).to_parquet(tmp_path / "a.parquet")
    with duckdb.connect() as con:
        style = read(con, find("a.parquet", tmp_path)).styles["v"]
        (got,) = con.execute(f"SELECT list({style.sql('v')} ORDER BY row_id) FROM rows_").fetchall()[0]
    assert style.share == 1
    assert [str(one) if isinstance(values[0], str) else one for one in got] == values


def test_what_only_looks_like_numbers_stays_text(tmp_path: Path) -> None:
    pd.DataFrame(
        {
            "phone": ["555 123 4567", "555 987 6543"],
            "zip": ["01234", "91234"],
            "size": ["12 kg", "3 kg"],
            "money": ["$1", "€2"],
            "host": ["10.0.0.1", "192.168.1.1"],
        }
    ).to_parquet(tmp_path / "a.parquet")
    assert read_all(tmp_path, "a.parquet").styles == {}


def test_two_ways_to_read_a_date_are_a_doubt(tmp_path: Path) -> None:
    pd.DataFrame({"day": ["1/2/2010", "3/4/2010"], "sure": ["1/13/2010", "3/4/2010"]}).to_csv(tmp_path / "a.csv")
    styles = read_all(tmp_path).styles
    assert "%d/%m/%Y" in styles["day"].doubt
    assert not styles["sure"].doubt


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_words_for_missing_values(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame(
        {
            "total": [" ", *(f"{n}.5" for n in range(49))],
            "work": [" ?", *["state", "own"] * 24, "NA"],
            "country": [*["DE", "FR", "IT", "ES", "PT", "AT", "CH", "SE", "NO", "NA"] * 5],
            "left": ["?", *["no", "None"] * 24, "no"],
        }
    )
    file = tmp_path / f"a.{suffix}"
    if suffix == "csv":
        frame.to_csv(file, index=False)
    elif suffix == "jsonl":
        frame.to_json(file, orient="records", lines=True)
    else:
        frame.to_parquet(file)
    with duckdb.connect() as con:
        found = read(con, find(f"a.{suffix}", tmp_path), "left")
        sql = 'SELECT count(total), count(work), count(country), count(DISTINCT "left") FROM rows_'
        assert con.execute(sql).fetchall() == [(49, 48, 50, 2)]
    assert found.types["total"] == "number"
    assert found.missing == {"total": {"": 1}, "work": {"?": 1, "NA": 1}, "left": {"?": 1}}
    # Namibia, and a word that half of the targets have, are values.
    assert found.exempt == {"country": ["NA"], "left": ["None"]}


def test_columns_that_cannot_be_declared_are_left_out(tmp_path: Path) -> None:
    pd.DataFrame({"batch": [1, 2], "row_id": [7, 8], "many": [[1], [2]], "two\nlines": [1, 2], "y": [0, 1]}).to_parquet(
        tmp_path / "a.parquet"
    )
    found = read_all(tmp_path, "a.parquet")
    assert list(found.types) == ["y"]
    assert set(found.left_out) == {"batch", "row_id", "many", "two\nlines"}


@pytest.mark.parametrize(
    "lines",
    [
        ["39, Private, 13, 0", "50, Self, 13, 1", "38, Private, 9, 0"],  # the target may be called 0
        ["5.1,3.5,1.4,setosa", "4.9,3.0,1.4,setosa", "6.3,3.3,6.0,virginica"],
        ["low,vhigh,acc", "low,high,unacc", "med,vhigh,acc", "low,med,acc"],
        ["2024-01-01,7,7", "2024-01-02,9,5", "2024-01-03,5,9"],
    ],
)
def test_a_first_line_of_values_is_refused(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(SourceError, match="first line has values") as caught:
        read_all(tmp_path, target=lines[0].split(",")[-1])
    assert f"a line of {lines[0].count(',') + 1} names" in str(caught.value)


@pytest.mark.parametrize(
    "lines",
    [
        ["0,1,2", "5,7,1", "4,9,2"],  # as pandas names columns
        ["2010,2011,2012", "5,7,1", "4,9,2"],  # years
        ["id,10,20", "5,7,1", "4,9,2"],
        ["kind,name", "a,kind", "b,x", "c,y"],
    ],
)
def test_names_that_are_numbers_are_names(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "a.csv").write_text("\n".join(lines))
    assert list(read_all(tmp_path).types) == lines[0].split(",")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("city,y\nBern,1\nZürich,2\n".encode("latin-1"), ["line 3", "0xfc", "iconv -f ISO-8859-1"]),
        (codecs.BOM_UTF16_LE + "city,y\nBern,1\n".encode("utf-16-le"), ["UTF-16", "iconv -f UTF-16"]),
        ("city,y\nBern,1\n".encode("utf-16-le"), ["UTF-16LE", "iconv -f UTF-16LE"]),
        (b"city,y\n1,2\n1,2,3,4\n5,6\n", ["line 3 has 4 columns"]),
    ],
)
def test_what_is_wrong_with_a_file_and_where(tmp_path: Path, content: bytes, says: list[str]) -> None:
    (tmp_path / "a.csv").write_bytes(b"city,y\nRom,1\n" * 3)
    (tmp_path / "b.csv").write_bytes(content)
    with pytest.raises(SourceError) as caught:
        read_all(tmp_path)
    assert all(text in str(caught.value) for text in [*says, str(tmp_path / "b.csv")])


def test_two_tables_in_one_folder_are_refused(tmp_path: Path) -> None:
    for month in (1, 2):
        (tmp_path / f"customers_{month}.csv").write_text("id,age,fee,left\n1,30,9.5,0\n")
        (tmp_path / f"orders_{month}.csv").write_text("id,item,price,paid,shipped\n1,a,9.5,1,0\n")
    with pytest.raises(SourceError, match="2 different tables") as caught:
        read_all(tmp_path, target="left")
    assert "customers_1.csv (2 files): age, fee, left" in str(caught.value)
    assert f"--source '{tmp_path}/customers*.csv'" in str(caught.value)
    assert list(read_all(tmp_path, "customers*.csv").types) == ["id", "age", "fee", "left"]


def test_a_column_that_came_later(tmp_path: Path) -> None:
    (tmp_path / "a_1.csv").write_text("id,age,left\n1,30,0\n")
    (tmp_path / "a_2.csv").write_text("id,age,left,fee\n2,31,1,9.5\n")
    assert read_all(tmp_path).partial == {"fee": 1}


def test_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(SourceError, match="cannot be read"):
        read_all(tmp_path, "a.parquet")
