"""Statistics as functions of row weights, and the bootstrap that is made of them.

A resample is a weight for each row: how often it was sampled. What the weights do not change (the order of the scores,
the losses, right or wrong) is computed once, so that a resample costs a few sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
# Weights of the rows, shape (n,) -> value; NaN where it is not defined on them.
Statistic = Callable[[Array], float]

RESAMPLES = 200


def mean(values: Array) -> Statistic:
    """The weighted mean of a value for each row."""
    column = np.asarray(values, dtype="float64")
    return lambda weights: float(column @ weights / weights.sum())


def total(values: Array) -> Statistic:
    """The weighted sum of a value for each row."""
    column = np.asarray(values, dtype="float64")
    return lambda weights: float(column @ weights)


def bootstrap(statistics: Sequence[Statistic], rows: int, seed: int = 0, resamples: int = RESAMPLES) -> Array:
    """Values of statistics over resampled rows, all on the same resamples: their differences are paired.

    The same rows and seed give the same resamples again. Efron and Tibshirani 1993, ch. 13.

    Returns:
        Array of shape (resamples, len(statistics)); NaN where a statistic is not defined on a resample.
    """
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    sampled = (np.bincount(rng.integers(0, rows, rows), minlength=rows).astype("float64") for _ in range(resamples))
    with threadpool_limits(1, "blas"):  # sums this short cost more to share out than to do
        return np.array([[statistic(weights) for statistic in statistics] for weights in sampled])


def interval(values: Array, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap values without the undefined ones; NaN where none is left."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
