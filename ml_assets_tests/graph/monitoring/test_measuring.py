"""How far columns have moved: effect sizes, limits that small batches need, and rules of the YAML."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from ml_assets.errors import SpecError
from ml_assets.graph.monitoring.measuring import measured, measures
from ml_assets.ml.drift_measures import PRESENCE, Measure, Measured
from ml_assets.spec.operation import ColumnDrift as Rule

KINDS = {"a": "number", "c": "category"}
RNG = np.random.default_rng(0)


@cache
def how() -> dict[str, Measure]:
    """Not at the import of this file: it imports Evidently, which costs seconds."""
    return measures(KINDS, {})


def numbers(rows: int, shift: float = 0.0) -> pd.Series:
    return pd.Series(RNG.normal(shift, 1, rows))


def words(rows: int, first: float = 0.5) -> pd.Series:
    return pd.Series(RNG.choice(["x", "y"], rows, p=[first, 1 - first]), dtype=object)


def test_effect_sizes_are_measured_whatever_the_number_of_rows() -> None:
    for rows in (200, 2000):  # Evidently by itself would take a p-value up to 1,000
        number, word = (
            measured(numbers(rows, 1.0), numbers(rows), how()["a"]),
            measured(words(rows, 0.9), words(rows), how()["c"]),
        )
        assert (number.measure.method, word.measure.method) == ("wasserstein", "jensenshannon")
        assert number.drifted
        assert word.drifted
        assert number.score == pytest.approx(1.0, abs=0.25), "in standard deviations of the reference"
    calm = measured(numbers(2000), numbers(2000), how()["a"])
    assert (calm.drifted, calm.limit, calm.reference_rows) == (False, 0.1, 2000)


def test_small_calm_batches_hardly_drift_by_chance() -> None:
    found = [measured(numbers(100), numbers(1000), how()["a"]) for _ in range(20)]
    assert sum(one.score >= 0.1 for one in found) > 8, "Evidently's threshold alone would call many of them drifted"
    assert sum(one.drifted for one in found) <= 4
    assert measured(numbers(100, 0.6), numbers(1000), how()["a"]).drifted


def test_a_threshold_of_the_yaml_is_taken_as_it_is() -> None:
    how = measures(KINDS, {"a": Rule(threshold=0.001)})["a"]
    found = measured(numbers(100), numbers(1000), how)
    assert (found.limit, found.drifted) == (0.001, True)
    how = measures(KINDS, {"a": Rule(method="ks")})["a"]
    calm, moved = measured(numbers(500), numbers(500), how), measured(numbers(500, 1.0), numbers(500), how)
    assert (calm.limit, calm.drifted, moved.drifted) == (0.05, False, True), "a p-value drifts below its threshold"


def test_values_on_one_side_only_are_drift() -> None:
    none = pd.Series(np.full(1000, np.nan))
    few = none.where(np.arange(1000) > 2, 1.0)

    def told(current: pd.Series, reference: pd.Series) -> tuple[str, bool]:
        found: Measured = measured(current, reference, how()["a"])
        return found.measure.method, found.drifted

    assert told(none, numbers(1000)) == (PRESENCE, True)
    assert told(numbers(1000), few) == (PRESENCE, True)
    assert told(few, none) == (PRESENCE, False)
    assert told(none, none) == (PRESENCE, False)
    infinite = measured(pd.Series(np.full(1000, np.inf)), numbers(1000), how()["a"])
    assert (infinite.rows, infinite.drifted) == (0, True)
    words_gone = measured(pd.Series([None] * 100, dtype=object), words(100), how()["c"])
    assert (words_gone.measure.method, words_gone.score) == (PRESENCE, 1.0)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"incme": Rule()}, ["incme", "did you mean 'income'?"]),
        ({"region": Rule(method="ks")}, ["ks does not measure a category", "jensenshannon"]),
        ({"prediction": Rule(method="chisquare")}, ["chisquare does not measure a number", "wasserstein"]),
    ],
)
def test_a_rule_that_fits_no_column_is_refused(rules: dict[str, Rule], said: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        measures({"income": "number", "region": "category"}, rules)
    assert all(text in str(caught.value) for text in said)


def test_values_that_go_missing_are_drift_though_those_that_stay_have_not_moved() -> None:
    whole, thinned = numbers(2000), numbers(2000)
    thinned[:300] = np.nan
    found = measured(thinned, whole, how()["a"])
    assert (found.measure.method, found.drifted, found.is_lost) == (PRESENCE, True, False)
    assert found.score == pytest.approx(0.15)
    thinned[:1200] = np.nan
    assert measured(thinned, whole, how()["a"]).is_lost
    assert not measured(whole, thinned, how()["a"]).drifted  # they are back
    thinned[:] = np.nan
    assert measured(thinned, whole, how()["a"]).is_lost
    few = words(100)
    few[:12] = None
    rare = words(1000)
    rare[:100] = None
    assert not measured(few, rare, how()["c"]).drifted
