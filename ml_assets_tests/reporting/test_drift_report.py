"""The head of a drift report: every column, and names and values of the data as text."""

from __future__ import annotations

from markupsafe import escape

from ml_assets.ml.drift_measures import PRESENCE
from ml_assets.reporting.drift_report import PLOTTED, _head
from ml_assets.tables.drift import ColumnDrift, Drift

HOSTILE = "<script>alert(1)</script>{{7*7}}\"'&"


def column(name: str, method: str = "wasserstein", **changes: object) -> ColumnDrift:
    facts = {"score": 0.2, "threshold": 0.1, "drifted": True, "direction": "mean up 1 std", "importance": 0.1}
    return ColumnDrift(name, method, **{**facts, "rows": 600, "reference_rows": 1000, **changes})  # type: ignore[arg-type]


def test_the_head_says_how_many_columns_are_plotted() -> None:
    few = Drift([column("a"), column("b", ignored=True)], 0.5, 600, 1000)
    assert "All columns are plotted below." in _head(few, "4", "1.0.0")
    assert "b (ignored)" in _head(few, "4", "1.0.0")
    many = Drift([column(f"c{n}") for n in range(PLOTTED + 3)] + [column("empty", PRESENCE)], 0.5, 600, 1000)
    assert f"The {PLOTTED} most important columns are plotted below." in _head(many, "4", "1.0.0")


def test_names_and_values_of_the_data_are_text() -> None:
    found = Drift([column(HOSTILE, direction=f"{HOSTILE!r} gained 5%")], 0.5, 600, 1000)
    shown = _head(found, HOSTILE, "1.0.0")
    assert "<script" not in shown
    assert shown.count(str(escape(HOSTILE))) == 3  # the batch, the sentence and the table
