"""Features of a request: values that cannot be computed with, and a SELECT that somebody else wrote."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pytest

from ml_assets.errors import ServingError
from ml_assets.ml.bundle import Schema
from ml_assets.ml.release import ServingFacts
from ml_assets.server.features import REQUEST_MIB, Features
from ml_assets.server.requests import RowRefused

SCHEMA = Schema("regression", "y", {"year": "integer", "x": "number"}, {"y": "number", "z": "number"}, [], None, "a.B")


def features(folder: Path, sql: str) -> Features:
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "features.sql").write_text(sql)
    (folder / "references").mkdir()
    duckdb.sql(f"COPY (SELECT 7 AS k) TO '{folder / 'references' / 'sevens.parquet'}'")
    return Features(folder, ServingFacts("p", "1.0.0", "1", "features.sql", None, [], {}, ["sevens"]), SCHEMA)


def test_a_value_that_cannot_be_computed_with_is_told_with_its_row(tmp_path: Path) -> None:
    made = features(
        tmp_path / "[1]", "SELECT row_id, year(make_date(year, 1, 1)) AS y, ln(x) + k AS z FROM batch, sevens"
    )
    columns = {"year": [2000 + number for number in range(9)], "x": [1.0] * 9}
    assert made.of(columns, 9)["y"] == [float(year) for year in columns["year"]]
    for name, row, value in (("year", 6, 10**11), ("year", 0, 2**31), ("x", 8, -1.0), ("year", 3, 10**30)):
        spoilt = {**columns, name: [value if number == row else old for number, old in enumerate(columns[name])]}
        with pytest.raises(RowRefused) as caught:
            made.of(spoilt, 9)
        assert str(caught.value).endswith(f"- at `$.rows[{row}]`")
    assert len(made.of(columns, 9)["y"]) == 9  # it goes on


def test_nothing_that_the_select_says_changes_what_it_may(tmp_path: Path) -> None:
    made = features(tmp_path / "a", "SELECT row_id, 1 AS y, 2 AS z FROM batch -- (")
    limit = made.con.execute("SELECT current_setting('memory_limit')").fetchall()[0][0]
    assert limit.endswith("MiB")
    assert REQUEST_MIB <= float(limit.split()[0]) < REQUEST_MIB + 50
    for text in ("SET memory_limit = '90GiB'", "SET enable_external_access = true", "FROM read_text('/etc/hostname')"):
        with pytest.raises(duckdb.Error, match=r"locked|disabled|Cannot change"):
            made.con.execute(text)
    for number, text in enumerate(
        ("SELECT 1) AS x; SET threads = 9; SELECT * FROM (SELECT 1", "SELECT 1; SELECT 2", "")
    ):
        with pytest.raises(ServingError):
            features(tmp_path / f"refused{number}", text)


EVERY_KIND = Schema(
    "regression",
    "y",
    {"s": "string", "i": "integer", "n": "number", "b": "boolean", "d": "date", "t": "timestamp"},
    dict.fromkeys(("batch", "s", "i", "n", "b", "d", "t", "k"), "category"),
    ["s", "i", "n", "b", "d", "t"],
    None,
    "a.B",
)


def of_every_kind(folder: Path, sql: str) -> Features:
    features(folder, "SELECT row_id, 1 AS y, 2 AS z FROM batch").close()
    (folder / "bundle" / "features.sql").write_text(sql)
    return Features(folder, ServingFacts("p", "1.0.0", "20'1", "features.sql", None, [], {}, ["sevens"]), EVERY_KIND)


@pytest.mark.parametrize(
    "row",
    [
        ("it's '); DROP TABLE sevens; --", -(2**63), 0.1 + 0.2, True, dt.date(1, 1, 1), dt.datetime(9999, 12, 31, 23)),
        ("\x00\n\\ä€😀$1", 2**63 - 1, 5e-324, False, dt.date(9999, 12, 31), dt.datetime(2013, 3, 10, 2, 30, 0, 7)),
        ("", 0, -1.7976931348623157e308, None, dt.date(2000, 2, 29), dt.datetime(1, 1, 1)),
        (None, None, None, None, None, None),
        ("NULL", None, 123456789012345.678, True, None, None),
    ],
)
def test_one_row_has_the_features_that_it_has_among_others(tmp_path: Path, row: tuple[object, ...]) -> None:
    made = of_every_kind(tmp_path / "a", "SELECT b.*, k FROM batch b, sevens ORDER BY n")
    columns = dict(zip("sinbdt", ([value] for value in row), strict=True))
    alone, among = made.of(columns, 1), made.of({name: [*value, None] for name, value in columns.items()}, 2)
    assert alone == {name: [value[0]] for name, value in among.items()}
    assert (alone["s"], alone["i"], alone["n"], alone["t"]) == ([row[0]], [row[1]], [row[2]], [row[5]])
    assert (alone["batch"], alone["k"]) == (["20'1"], [7])


@pytest.mark.parametrize("batch", ["temp.batch", "batch", "(FROM temp.main.batch)"])
def test_one_row_never_meets_the_rows_of_another_request(tmp_path: Path, batch: str) -> None:
    made = of_every_kind(tmp_path / "a", f"WITH other AS (FROM {batch}) SELECT *, 7 AS k FROM other")
    for number in range(3):
        columns = {name: [None] for name in "snbdt"} | {"i": [number]}
        assert made.of(columns, 1)["i"] == [number]
        assert made.of({name: [*value, None] for name, value in columns.items()}, 2)["i"] == [number, None]
