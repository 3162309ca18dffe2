"""A drift report: every column, limits in its plots, a small page, names and values of the data as text."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

from ml_assets.ml.drift_measures import PRESENCE
from ml_assets.reporting.drift_report import PLOTTED, page
from ml_assets.tables.drift import BatchDrift, MeasuredColumn

HOSTILE = "<script>alert(1)</script>{{7*7}}\"'&"


def column(name: str, method: str = "wasserstein", **changes: object) -> MeasuredColumn:
    facts = {"score": 0.2, "threshold": 0.1, "drifted": True, "direction": "mean up 1 std", "importance": 0.1}
    return MeasuredColumn(name, method, **{**facts, "rows": 600, "reference_rows": 1000, **changes})  # type: ignore[arg-type]


def shown(found: BatchDrift, batch: str = "4", values: object = None) -> str:
    """The page, with samples of random numbers, or of these values."""
    names = [one.column for one in found.columns if one.method != PRESENCE]
    rng = np.random.default_rng(0)
    new, old = (
        pd.DataFrame({name: rng.normal(size=200) if values is None else [values] * 200 for name in names})
        for _ in range(2)
    )
    return page(found, new, old, "loans", batch, "1.0.0", f"{batch}.json")


def test_the_page_says_the_verdict_and_how_many_columns_are_plotted() -> None:
    few = shown(BatchDrift([column("a"), column("b", ignored=True)], 0.05, 600, 1000))
    assert "All columns are plotted below." in few
    assert "b (ignored)" in few
    assert "<title>loans 4: drift</title>" in few
    assert re.search(r'class="verdict bad".*?<h2 id="verdict">Drift</h2>', few, re.DOTALL)
    assert "limit 5%" in few
    many = shown(
        BatchDrift([column(f"c{n}") for n in range(PLOTTED + 3)] + [column("empty", PRESENCE)], 0.5, 600, 1000)
    )
    assert f"The {PLOTTED} most important columns are plotted below." in many
    assert all(f">c{n}</td>" in many for n in range(PLOTTED + 3))  # the table has every column


def test_limits_are_drawn() -> None:
    text = shown(BatchDrift([column("a"), column("b", drifted=False, score=0.02)], 0.5, 600, 1000))
    first = text[text.index("Distance of each column") : text.index("Importance of each column")]
    assert 'class="line limit"' in first
    assert re.findall(r'class="box (\w+)"', first) == ["bad", "version"]
    assert "Moved by 0.2, limit 0.1; mean up 1 std." in text


@pytest.mark.parametrize("word", ["No drift", "No verdict"])
def test_a_batch_without_drift_is_not_marked(word: str) -> None:
    calm = [column("a", drifted=False, score=0.02)]
    found = BatchDrift(calm, 0.5, 600, 1000, "too few rows" if word == "No verdict" else "")
    assert f'<h2 id="verdict">{word}</h2>' in shown(found)
    assert 'class="verdict bad"' not in shown(found)


def test_the_page_stays_small() -> None:
    wide = BatchDrift([column(f"feature_{n}" * 3) for n in range(3000)], 0.5, 600, 1000)
    text = shown(wide)
    assert len(text) < 1_000_000
    assert "more columns are in the table drift_report" in text


def test_names_and_values_of_the_data_are_text() -> None:
    found = BatchDrift([column(HOSTILE, direction=f"{HOSTILE!r} gained 5%")], 0.5, 600, 1000)
    text = shown(found, HOSTILE, HOSTILE)
    assert "<script" not in text
    assert text.count(str(escape(HOSTILE))) > 5  # the batch, the sentence, the plots and the table
    assert not re.findall(r'(?:src|href)="(?!data:image/png;base64,|#|&lt;)', text)
