"""File formats by their suffix."""

from __future__ import annotations

import pytest

from ml_assets.errors import SourceError
from ml_assets.sources.formats import reader


@pytest.mark.parametrize(
    ("name", "function"),
    [("a.parquet", "read_parquet"), ("a.csv.gz", "read_csv"), ("a.TSV", "read_csv"), ("a.jsonl", "read_json")],
)
def test_suffix_decides(name: str, function: str) -> None:
    assert reader([name]).startswith(function)


def test_unknown_and_mixed_formats_are_refused() -> None:
    with pytest.raises(SourceError, match="format is not known"):
        reader(["a.xlsx"])
    with pytest.raises(SourceError, match="different formats"):
        reader(["a.csv", "b.parquet"])
