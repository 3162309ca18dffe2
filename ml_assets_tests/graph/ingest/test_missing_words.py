"""Words that stand for a missing value are NULL in whatever holds text, and only where they are declared to be."""

from __future__ import annotations

from typing import Any

import duckdb
import pandas as pd
import pytest

from ml_assets.graph.ingest import rows
from ml_assets.graph.ingest.files import Delivery
from ml_assets_tests.conftest import Project

CELLS = {
    "loan": ["1", "2", "?", "4"],
    "income": ["10.5", " ", "NA", "12"],
    "region": [" ? ", "NA", "A", "B"],
    "signed": ["2024-01-01", "NA", "2024-01-02", "?"],
    "late_days": ["?", "1", "2", "3"],
    "branch": ["NA", "north", "?", "-"],  # not declared
}


def read(project: Project, suffix: str) -> dict[str, list[Any]]:
    path = str(project.write(1, pd.DataFrame(CELLS), suffix))
    with duckdb.connect() as con:
        name, _ = rows.open_rows(con, project.spec, "1", Delivery([path], [path], [path], ["x"]))
        return con.sql(f"FROM {name} ORDER BY row_id").fetchdf().astype(object).to_dict("list")


def kept(values: list[Any]) -> list[Any]:
    return [None if pd.isna(value) else value for value in values]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_in_every_format(project: Project, suffix: str) -> None:
    project.spec_dict["source"]["missing"] = ["", "?", "NA"]
    project.spec_dict["columns"][2]["missing"] = ["?"]  # a region may be called NA
    got = read(project, suffix)
    assert [list(bad) for bad in got["unreadable"]] == [[], [], [], []]
    assert kept(got["loan"]) == [1, 2, None, 4]
    assert kept(got["income"]) == [10.5, None, None, 12]
    assert kept(got["region"]) == [None, "NA", "A", "B"]
    assert kept(got["late_days"]) == [None, 1, 2, 3]
    assert kept(got["branch"]) == [None, "north", None, "-"]
    assert [str(time)[:10] for time in kept(got["signed"])] == ["2024-01-01", "None", "2024-01-02", "None"]


def test_without_them_such_text_is_a_value_or_unreadable(project: Project) -> None:
    got = read(project, "csv")
    assert got["region"] == [" ? ", "NA", "A", "B"]
    assert list(got["unreadable"][2]) == ["loan: '?'", "income: 'NA'"]
