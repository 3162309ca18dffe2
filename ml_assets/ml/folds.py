"""Cross-validation folds that keep what the split promises: order in time, strata, or groups."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ml_assets.errors import TrainingError

Array = np.ndarray[Any, Any]


def folds(by: str, count: int, labels: Array, groups: Array | None, seed: int) -> list[tuple[Array, Array]]:
    """Pairs of row positions (train, validation).

    Args:
        by: `batch` gives expanding windows over rows in their order; `random`, `stratified`, `group` as named.
        count: Number of folds.
        labels: Labels, shape (n,), in the order of the rows.
        groups: Group of each row (by: group), else None.
        seed: Seed of the shuffles.

    Raises:
        TrainingError: There are fewer groups, or rows of each class, than folds.
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
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # a class with fewer rows than folds; those that it leaves empty are scored without it
        try:
            return list(splitter.split(np.zeros(len(labels)), labels, groups))
        except ValueError as error:
            raise TrainingError(
                f"The train rows cannot be divided into {count} folds by {by}.",
                found=str(error),
                fix="Set tuning.folds lower, or choose another split.",
            ) from error
