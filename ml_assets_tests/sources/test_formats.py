"""File formats by their suffix."""

from __future__ import annotations

import pytest

from ml_assets.errors import SourceError
from ml_assets.sources.formats import FORMATS, format_of, reader


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


@pytest.mark.parametrize(("name", "is_typed"), [("a.parquet", True), ("a.csv", False), ("a.json", False)])
def test_text_formats_have_no_types(name: str, is_typed: bool) -> None:
    assert FORMATS[format_of([name])].is_typed is is_typed
    assert (reader([name], as_text=True) == reader([name])) is is_typed
