"""Which files there are, and what names a batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_assets.errors import SourceError
from ml_assets.scaffold.files import batch_of, find, name_pattern


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
