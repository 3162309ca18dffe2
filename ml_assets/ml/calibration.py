"""Do probabilities come true? The calibration curve, its error, and the error that chance explains."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml_assets.metrics.weighted import RESAMPLES

Array = np.ndarray[Any, Any]


def bins_of(predicted: Array, bins: int = 10) -> Array:
    """The bin of each probability: bins of about equally many rows; equal probabilities stay together."""
    edges = np.quantile(predicted, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, predicted, side="right")


def curve(predicted: Array, observed: Array) -> tuple[Array, Array, Array]:
    """Mean probability, share that came true, and rows of each bin that has rows.

    Args:
        predicted: Probabilities, shape (n,).
        observed: Whether each came true, shape (n,).
    """
    bin_of_row = bins_of(predicted)
    rows = np.bincount(bin_of_row)
    used = rows > 0
    mean_predicted, mean_observed = (
        np.bincount(bin_of_row, values)[used] / rows[used] for values in (predicted, observed)
    )
    return mean_predicted, mean_observed, rows[used]


def error(predicted: Array, observed: Array) -> float:
    """Expected calibration error: how far bins are off, weighted by rows. Guo et al. 2017, eq. 3."""
    mean_predicted, mean_observed, rows = curve(predicted, observed)
    return float(np.abs(mean_predicted - mean_observed) @ rows / rows.sum())


def error_by_chance(predicted: Array, seed: int) -> float:
    """The calibration error that true probabilities stay below 19 times of 20: on few rows it is not small."""
    rng = np.random.default_rng(seed)
    bin_of_row = bins_of(predicted)
    found = [
        np.abs(np.bincount(bin_of_row, predicted - (rng.random(len(predicted)) < predicted))).sum() / len(predicted)
        for _ in range(RESAMPLES)
    ]
    return float(np.quantile(found, 0.95))
