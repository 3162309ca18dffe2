"""What a bundle keeps of the rows that its model was fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml_assets.ml import reference

KINDS = {"a": "number", "c": "category", "none": "number"}


def rows(count: int) -> pd.DataFrame:
    a = np.arange(count, dtype="float64")
    a[:10] = np.nan
    a[10] = np.inf
    return pd.DataFrame(
        {"a": a, "c": np.array(["x", "y", "y", None] * (count // 4), dtype=object), "none": np.full(count, np.nan)}
    )


def test_facts_are_of_all_rows_and_the_sample_is_drawn_with_a_seed() -> None:
    frame = rows(1000)
    taken, again, other = (reference.take(frame, KINDS, 100, seed) for seed in (1, 1, 2))
    assert len(taken.rows) == 100
    pd.testing.assert_frame_equal(taken.rows, again.rows)
    assert not taken.rows.equals(other.rows)
    assert taken.facts["a"]["missing"] == 11
    assert taken.facts["a"]["mean"] == pytest.approx(np.arange(11, 1000).mean())
    assert taken.facts["a"]["std"] == pytest.approx(np.arange(11, 1000).std())
    assert taken.facts["a"]["quantiles"]["0.5"] == pytest.approx(505.0)
    assert taken.facts["c"] == {
        "kind": "category",
        "rows": 1000,
        "missing": 250,
        "distinct": 2,
        "categories": {"y": 0.6666666667, "x": 0.3333333333},
    }
    assert taken.facts["none"]["mean"] is None


def test_a_reference_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert reference.read(tmp_path, 10) is None, "a bundle of an earlier ml_assets has none"
    taken = reference.take(rows(40), KINDS, 100, 0)
    kept = reference.Reference(reference.answered(taken.rows, np.array([[0.2, 0.8]] * 40)), taken.facts)
    reference.write(tmp_path, kept)
    back = reference.read(tmp_path, 100)
    assert back is not None
    pd.testing.assert_frame_equal(back.rows, kept.rows)
    assert back.facts == kept.facts
    assert set(back.rows["prediction"]) == {0.8}, "the probability of the likeliest class"
    shorter = reference.read(tmp_path, 15)
    assert shorter is not None
    assert len(shorter.rows) == 15
