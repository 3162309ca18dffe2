"""The confidence sequence: its promise under looks at any time, what it finds, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ml_assets.ml import sequential
from ml_assets.ml.sequential import Effect, Sample

Array = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, int, float], Array]
EXPERIMENTS, ROWS, EVERY = 400, 10_000, 100
ALLOWED = 0.05 + 3 * math.sqrt(0.05 * 0.95 / EXPERIMENTS)  # three standard deviations of 400 experiments at 5%


def normal(rng: np.random.Generator, rows: int, effect: float) -> Array:
    return rng.normal(effect, 1, rows)


def log_losses(rng: np.random.Generator, rows: int, effect: float) -> Array:
    """Differences of log losses of two models that are equally far from the truth, in two ways; skewed."""
    truth = rng.beta(2, 6, rows)
    noise = rng.normal(0, 0.4, (2, rows))
    noise[0] += effect
    one, other = (1 / (1 + np.exp(-(np.log(truth / (1 - truth)) + add))) for add in noise)
    label = rng.random(rows) < truth
    return np.where(label, np.log(other / one), np.log((1 - other) / (1 - one)))


def costs(rng: np.random.Generator, rows: int, effect: float) -> Array:
    """Differences of costs 1 and 4: nearly all are 0, a few are large."""
    differs = rng.random(rows) < 0.06
    values = rng.choice([4.0, -4.0, 1.0, -1.0], rows, p=[0.1, 0.1, 0.4, 0.4])
    return np.where(differs, values, 0.0) + np.where(rng.random(rows) < effect, 1.0, 0.0)


def looked_at(values: Array) -> list[Effect]:
    """The effect after every hundred rows."""
    rows = np.arange(EVERY, len(values) + 1, EVERY)
    sums, squares = (np.cumsum(column)[rows - 1] for column in (values, values**2))
    means = sums / rows
    return [
        sequential.paired(Sample(int(n), float(mean), float(square / n - mean**2)))
        for n, mean, square in zip(rows, means, squares, strict=True)
    ]


def fixed_sample(effect: Effect) -> bool:
    """Is it decided by the interval of a test whose rows were settled before, as if each look were the only one?"""
    return abs(effect.mean) > 1.96 * math.sqrt(effect.variance / effect.rows)


def is_decided(effect: Effect) -> bool:
    return sequential.verdict(effect) in ("better", "worse")


def share(draw: Draw, decides: Callable[[Effect], bool], effect: float = 0.0) -> float:
    """Of the experiments, those that ever decide."""
    ever = [
        any(map(decides, looked_at(draw(np.random.default_rng(seed), ROWS, effect)))) for seed in range(EXPERIMENTS)
    ]
    return sum(ever) / EXPERIMENTS


@pytest.mark.parametrize("draw", [normal, log_losses, costs])
def test_looking_after_every_hundred_rows_finds_no_difference_where_there_is_none(draw: Draw) -> None:
    assert share(draw, is_decided) <= ALLOWED


def test_a_fixed_sample_interval_that_is_peeked_at_finds_one_far_too_often() -> None:
    assert share(normal, fixed_sample) > 0.3  # instead of 0.05


@pytest.mark.parametrize(("draw", "effect"), [(normal, 0.06), (log_losses, 0.9), (costs, 0.03)])
def test_a_real_difference_is_found_and_in_its_direction(draw: Draw, effect: float) -> None:
    found, sign = [], np.sign(draw(np.random.default_rng(1_000), 10**6, effect).mean())
    for seed in range(100):
        values = draw(np.random.default_rng(seed), ROWS, effect)
        words = [sequential.verdict(one) for one in looked_at(sign * values)]
        found.append(next((word for word in words if word != "not yet decided"), None))
    assert found.count("better") >= 90
    assert found.count("worse") <= 3


def test_disjoint_keys_of_unequal_shares_keep_the_promise() -> None:
    wrong = 0
    for seed in range(EXPERIMENTS):
        rng = np.random.default_rng(seed)
        losses, is_second = rng.exponential(1, ROWS), rng.random(ROWS) < 0.1
        first, second = samples(losses, ~is_second), samples(losses, is_second)
        wrong += any(is_decided(sequential.two_sample(*both)) for both in zip(first, second, strict=True))
    assert wrong / EXPERIMENTS <= ALLOWED


def samples(losses: Array, chosen: Array) -> list[Sample]:
    """What is known of the chosen ones after every hundred rows, from the fifth look on."""
    sums = [np.cumsum(losses**power * chosen)[5 * EVERY - 1 :: EVERY] for power in (0, 1, 2)]
    return [Sample(int(n), s / n, q / n - (s / n) ** 2) for n, s, q in zip(*map(list, sums), strict=True)]


def sample(values: Array) -> Sample:
    return Sample(len(values), float(values.mean()), float(values.var()))


def test_two_samples_find_a_difference() -> None:
    rng = np.random.default_rng(1)
    found = sequential.two_sample(sample(rng.exponential(1.0, 20_000)), sample(rng.exponential(0.9, 5_000)))
    assert found.mean == pytest.approx(0.1, abs=0.04)
    assert math.sqrt(found.variance / found.rows) == pytest.approx(math.sqrt(1 / 20_000 + 0.81 / 5_000), rel=0.05)
    assert sequential.verdict(found) == "better"
    other_way = sequential.two_sample(sample(rng.exponential(0.9, 20_000)), sample(rng.exponential(1.0, 5_000)))
    assert sequential.verdict(other_way) == "worse"


def test_the_formula_as_it_is_printed() -> None:
    """With rho for t* = 10,000 and alpha = 0.05, computed apart from the code."""
    rho = math.sqrt((2 * math.log(20) + math.log(2 * math.log(20)) + 1) / 10_000)
    t = 2_500
    wanted = 3 * math.sqrt(2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(math.sqrt(t * rho**2 + 1) / 0.05))
    assert sequential.half_width(t, 9.0) == pytest.approx(wanted, rel=1e-12)


def test_the_price_of_looking_is_less_than_twice_the_width() -> None:
    for rows in (1_000, 10_000, 100_000, 1_000_000):
        ratio = sequential.half_width(rows, 1.0) / (1.96 / math.sqrt(rows))
        assert 1.4 < ratio < 2


def test_the_rows_that_are_needed_are_those_that_decide() -> None:
    effect = Effect(1_000, 1_000, 0.02, 1.0)
    needed = sequential.rows_until_decided(effect)
    assert needed is not None
    assert is_decided(Effect(needed, needed, 0.02, 1.0))
    assert not is_decided(Effect(needed - 1, needed - 1, 0.02, 1.0))
    assert sequential.rows_until_decided(Effect(1_000, 1_000, 0.0, 1.0)) is None
    assert sequential.rows_until_decided(Effect(1_000, 1_000, 1e-12, 1.0)) is None
    assert sequential.rows_for(5.0, 1.0) == sequential.MIN_ROWS


def test_the_smallest_effect_that_matters_ends_an_experiment_for_certain() -> None:
    """Where half of the interval is at most half of that effect, it cannot contain both 0 and the effect."""
    rows = sequential.rows_for(0.05, 1.0)
    assert rows is not None
    for mean in np.linspace(-0.2, 0.2, 401):
        assert sequential.verdict(Effect(rows, rows, float(mean), 1.0), smallest=0.1) != "not yet decided"
    assert sequential.verdict(Effect(rows, rows, 0.001, 1.0)) == "not yet decided"
    assert sequential.verdict(Effect(rows, rows, 0.001, 1.0), smallest=0.1) == "no difference that matters"


def test_a_few_rows_decide_nothing() -> None:
    assert sequential.verdict(Effect(10_000, 99, 100.0, 1.0)) == "not yet decided"
    assert sequential.verdict(Effect(50, 50, 1.0, 0.0)) == "not yet decided"
    assert sequential.verdict(sequential.paired(Sample(5_000, 0.0, 0.0))) == "not yet decided"  # the same predictions
