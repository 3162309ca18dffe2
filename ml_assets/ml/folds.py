"""Cross-validation folds that keep what the split promises: order in time, strata, or groups."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def folds(by: str, count: int, labels: Array, groups: Array | None, seed: int) -> list[tuple[Array, Array]]:
    """Pairs of row positions (train, validation).

    Args:
        by: `batch` gives expanding windows over rows in their order; `random`, `stratified`, `group` as named.
        count: Number of folds.
        labels: Labels, shape (n,), in the order of the rows.
        groups: Group of each row (by: group), else None.
        seed: Seed of the shuffles.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

    if by == "batch":
        splitter: Any = TimeSeriesSplit(n_splits=count)
    elif by == "group":
        splitter = GroupKFold(n_splits=count)
    elif by == "stratified":
        splitter = StratifiedKFold(n_splits=count, shuffle=True, random_state=seed)
    else:
        splitter = KFold(n_splits=count, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(labels)), labels, groups))
