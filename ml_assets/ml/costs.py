"""What decisions cost, row by row."""

from __future__ import annotations

from ml_assets.ml.judged import Array
from ml_assets.spec.model import Costs


def row_costs(costs: Costs, labels: Array, decisions: Array) -> Array:
    """What each decision costs: 0 for a right one.

    Args:
        costs: Of a false positive and a false negative.
        labels: 0/1, shape (n,).
        decisions: 0/1, shape (n,).
    """
    false_positive = (decisions == 1) & (labels == 0)
    false_negative = (decisions == 0) & (labels == 1)
    values: Array = costs.false_positive * false_positive + costs.false_negative * false_negative
    return values


def constant_costs(costs: Costs, labels: Array, decision: int) -> Array:
    """What each row costs where all rows are decided alike."""
    return row_costs(costs, labels, 0 * labels + decision)
