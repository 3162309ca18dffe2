"""Folds keep order, strata and groups."""

from __future__ import annotations

import numpy as np

from ml_assets.ml.folds import folds

LABELS = np.array([0, 0, 0, 1] * 30)


def test_folds_by_batch_never_train_on_the_future() -> None:
    for train, validation in folds("batch", 3, LABELS, None, 0):
        assert train.max() < validation.min()


def test_folds_by_group_share_no_group() -> None:
    groups = np.arange(120) // 10
    for train, validation in folds("group", 3, LABELS, groups, 0):
        assert not set(groups[train]) & set(groups[validation])


def test_stratified_folds_keep_the_share_and_seeds_repeat() -> None:
    first = folds("stratified", 3, LABELS, None, 5)
    for _, validation in first:
        assert LABELS[validation].mean() == 0.25
    again = folds("stratified", 3, LABELS, None, 5)
    assert all((a[0] == b[0]).all() for a, b in zip(first, again, strict=True))
