"""Features of a request: values that cannot be computed with, and a SELECT that somebody else wrote."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from ml_assets.errors import ServingError
from ml_assets.ml.bundle import Schema
from ml_assets.ml.release import Facts
from ml_assets.server.features import REQUEST_MIB, Features
from ml_assets.server.requests import RowRefused

SCHEMA = Schema("regression", "y", {"year": "integer", "x": "number"}, {"y": "number", "z": "number"}, [], None, "a.B")


def features(folder: Path, sql: str) -> Features:
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "features.sql").write_text(sql)
    (folder / "references").mkdir()
    duckdb.sql(f"COPY (SELECT 7 AS k) TO '{folder / 'references' / 'sevens.parquet'}'")
    return Features(folder, Facts("p", "1.0.0", "1", "features.sql", None, [], {}, ["sevens"]), SCHEMA)


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
