"""From which score on 1 is decided."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def cheapest_threshold(labels: Array, scores: Array, false_positive: float, false_negative: float) -> float:
    """The threshold with the least total cost on these rows; a tie goes to the highest threshold.

    Args:
        labels: 0/1, shape (n,).
        scores: Probability of 1, shape (n,).
        false_positive: Cost of deciding 1 where the label is 0.
        false_negative: Cost of deciding 0 where the label is 1.
    """
    order = np.argsort(-scores, kind="stable")
    found = labels[order] == 1
    # Deciding 1 for the k highest scores, k = 0..n; only cuts between different scores can be made.
    costs = false_positive * np.r_[0, np.cumsum(~found)] + false_negative * (found.sum() - np.r_[0, np.cumsum(found)])
    ranked = scores[order]
    possible = np.r_[True, ranked[1:] != ranked[:-1], True]
    costs = np.where(possible, costs, np.inf)
    cut = int(np.argmin(costs))
    if cut == 0:
        return float(np.nextafter(ranked[0], np.inf)) if len(ranked) else 0.5
    return float(ranked[cut - 1])
