"""Signs of a leak in one column: what it explains of the labels alone, and whether it says another column again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml_assets.ml.weighted import statistic

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

TREE_ROWS = 20_000  # rows that a regression's tree is grown on


def explained(
    kind: str, type_: str, train: pd.Series, train_labels: Array, test: pd.Series, test_labels: Array
) -> float:
    """How well one feature alone tells the labels of rows that it was not learned on.

    Classes: ROC AUC, the mean over one class against the rest. A number is its own score, in the better direction; a
    category has the share of the class among train rows of the same category. Regression: R2 of a shallow tree.
    A missing value is a value, too: that it is missing may tell.

    Args:
        kind: binary, multiclass or regression.
        type_: number | category.
        train: The feature in train rows.
        train_labels: Their labels.
        test: The feature in test rows.
        test_labels: Their labels.

    Returns:
        NaN where the test labels are all the same.
    """
    if kind == "regression":
        return _tree_r2(type_, train, train_labels, test, test_labels)
    classes = [1] if kind == "binary" else np.unique(test_labels).tolist()
    values = []
    for name in classes:
        truth = (test_labels == name).astype(int)
        if type_ == "number":
            values.append(_either_direction(test.to_numpy(), truth))
        else:
            values.append(_auc(truth, _learned(train, train_labels == name, test)))
    return float(np.mean(values))


def _auc(truth: Array, scores: Array) -> float:
    return statistic("roc_auc", truth, scores, "binary")(np.ones(len(truth)))


def _either_direction(values: Array, truth: Array) -> float:
    missing = np.isnan(values)
    ends = [-np.inf, np.inf] if missing.any() else [0.0]
    found = [_auc(truth, np.where(missing, end, values)) for end in ends]
    return float(np.max([(auc, 1 - auc) for auc in found]))


def _learned(train: pd.Series, targets: Array, test: pd.Series) -> Array:
    """The mean target of each category in train rows, for test rows; a new category has the mean of all."""
    import pandas as pd

    codes, _ = pd.factorize(pd.concat([train, test]), use_na_sentinel=False)
    known, asked = codes[: len(train)], codes[len(train) :]
    size = int(codes.max()) + 1
    rows = np.bincount(known, minlength=size)
    sums = np.bincount(known, np.asarray(targets, dtype="float64"), size)
    means: Array = np.where(rows > 0, sums / np.maximum(rows, 1), float(np.mean(targets)))[asked]
    return means


def _tree_r2(type_: str, train: pd.Series, train_labels: Array, test: pd.Series, test_labels: Array) -> float:
    from sklearn.tree import DecisionTreeRegressor

    if np.ptp(test_labels) == 0:
        return float("nan")
    if type_ == "number":
        known, asked = train.to_numpy(), test.to_numpy()
    else:
        known, asked = _learned(train, train_labels, train), _learned(train, train_labels, test)
    step = -(-len(known) // TREE_ROWS)
    tree = DecisionTreeRegressor(max_depth=8, min_samples_leaf=5, random_state=0)
    tree.fit(known[::step, None], train_labels[::step])
    return statistic("r2", test_labels, tree.predict(asked[:, None]), "regression")(np.ones(len(test_labels)))


def same_in_other_words(values: Array, other: Array) -> str | None:
    """`equal to`, `the opposite of` or `one to one with`, where one column says what the other says; else None.

    Two columns that are different in almost every row are one to one by chance; those must agree in their order, too.
    """
    import pandas as pd

    if len(values) == 0 or pd.unique(other).size < 2:
        return None
    numbers = values.dtype.kind in "biuf" and other.dtype.kind in "biuf"
    if np.array_equal(values, other):
        return "equal to"
    (left, names), (right, others) = (pd.factorize(column, use_na_sentinel=False) for column in (values, other))
    many = len(names)
    if many != len(others) or len(np.unique(left.astype("int64") * many + right)) != many:
        return None
    if numbers:
        if np.array_equal(values, -other) or (set(names) == {0, 1} == set(others)):
            return "the opposite of"
        first = np.unique(left, return_index=True)[1]
        rises = np.diff(other[first][np.argsort(values[first])].astype("float64"))
        if (rises > 0).all() or (rises < 0).all():
            return "one to one with"
    return "one to one with" if many <= len(values) / 2 else None
