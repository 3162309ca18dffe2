"""The cheapest threshold is the one that brute force finds."""

from __future__ import annotations

import numpy as np
import pytest

from ml_assets.ml import thresholds

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 500)
SCORES = np.clip(LABELS * 0.3 + RNG.random(500) * 0.7, 0, 1)


@pytest.mark.parametrize(("false_positive", "false_negative"), [(1, 1), (1, 4), (10, 1), (0, 1), (1, 0)])
def test_the_cheapest_threshold_is_the_brute_force_one(false_positive: float, false_negative: float) -> None:
    def cost(threshold: float) -> float:
        decided = threshold <= SCORES
        return float(
            false_positive * np.sum(decided & (LABELS == 0)) + false_negative * np.sum(~decided & (LABELS == 1))
        )

    chosen = thresholds.cheapest_threshold(LABELS, SCORES, false_positive, false_negative)
    assert cost(chosen) == min(cost(t) for t in [*np.unique(SCORES), 2.0])


def test_ties_are_decided_together() -> None:
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.5, 0.5, 0.5, 0.1])
    assert thresholds.cheapest_threshold(labels, scores, 1, 1) == 0.5
