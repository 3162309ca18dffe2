"""Signs of a leak: what one column or a few explain of the labels, and whether a column says another one again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_assets.metrics import statistic

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

TREE_ROWS = 20_000  # rows that a regression's tree is grown on
SET_ROWS = 5_000  # rows that a small set of features is fitted on
SET_TRIED = 12  # features, the strongest alone, of which a small set is made
SET_SIZE = 3
SET_DEPTH = 6


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


def small_set(
    kind: str,
    types: Mapping[str, str],
    train: pd.DataFrame,
    train_labels: Array,
    test: pd.DataFrame,
    test_labels: Array,
    enough: float,
) -> tuple[list[str], float]:
    """Two or three features that together explain most, and how much: ROC AUC (classes), or R2 (regression).

    Chosen greedily, by a linear model or a shallow tree, whichever explains more; a third one only where two explain
    less than `enough`. So a sum of two columns is found, and a parity is not.

    Args:
        kind: binary, multiclass or regression.
        types: Feature -> number | category, the strongest alone first.
        train: Features of train rows.
        train_labels: Their labels.
        test: Features of test rows.
        test_labels: Their labels.
        enough: The score from which on no further feature is added.

    Returns:
        No features and NaN where there are fewer than two, or where the test labels are all the same.
    """
    tried = list(types)[:SET_TRIED]
    if len(tried) < 2 or len(np.unique(test_labels)) < 2:
        return [], float("nan")
    known, asked = (slice(None, None, -(-len(part) // SET_ROWS)) for part in (train_labels, test_labels))
    known_labels, asked_labels = train_labels[known], test_labels[asked]
    targets = _targets(kind, known_labels)
    columns = {}
    for name in tried:
        sides = train[name].iloc[known], test[name].iloc[asked]
        columns[name] = _as_numbers(types[name], *sides, targets)
    chosen, value = tried[:1], -np.inf
    while len(chosen) < min(SET_SIZE, len(tried)) and not value >= enough:
        found = {}
        for name in tried:
            if name not in chosen:
                left, right = (np.column_stack([columns[one][side] for one in [*chosen, name]]) for side in (0, 1))
                found[name] = _explained_by(kind, left, targets, right, np.unique(known_labels), asked_labels)
        best = max(found, key=lambda name: found[name])
        chosen, value = [*chosen, best], found[best]
    return chosen, float(value)


def _targets(kind: str, labels: Array) -> Array:
    """What is fitted, shape (n, targets): the label, or whether it is each class."""
    if kind == "regression":
        return np.asarray(labels, dtype="float64")[:, None]
    return np.asarray(labels[:, None] == np.unique(labels)[None, :], dtype="float64")


def _as_numbers(type_: str, train: pd.Series, test: pd.Series, targets: Array) -> tuple[Array, Array]:
    """A feature of both sides as columns of numbers near 0: a category as the mean of each target."""
    if type_ != "number":
        means = [(_learned(train, one, train), _learned(train, one, test)) for one in targets.T]
        return np.column_stack([known for known, _ in means]), np.column_stack([asked for _, asked in means])
    known, asked = (column.to_numpy("float64") for column in (train, test))
    there = known[np.isfinite(known)]
    middle, spread = (float(np.median(there)), float(np.std(there)) or 1.0) if len(there) else (0.0, 1.0)
    sides = [(np.where(np.isfinite(side), side, middle) - middle) / spread for side in (known, asked)]
    return sides[0][:, None], sides[1][:, None]


def _explained_by(kind: str, train: Array, targets: Array, test: Array, classes: Array, labels: Array) -> float:
    """The better score of a linear model and a shallow tree."""
    from sklearn.tree import DecisionTreeRegressor

    with_one = [np.column_stack([side, np.ones(len(side))]) for side in (train, test)]
    linear = with_one[1] @ np.linalg.lstsq(with_one[0], targets, rcond=None)[0]
    tree = DecisionTreeRegressor(max_depth=SET_DEPTH, min_samples_leaf=2, random_state=0).fit(train, targets)
    return max(score_of(kind, said, classes, labels) for said in (linear, tree.predict(test).reshape(len(test), -1)))


def score_of(kind: str, said: Array, classes: Array, labels: Array) -> float:
    """R2 of the first column, or the mean ROC AUC of one class against the rest; a column for each class."""
    if kind == "regression":
        return statistic("r2", labels, said[:, 0], "regression")(np.ones(len(labels)))
    truths = {n: (labels == name).astype(int) for n, name in enumerate(classes)}
    found = [_auc(truth, said[:, n]) for n, truth in truths.items() if 0 < truth.sum() < len(truth)]
    return float(np.mean(found)) if found else 0.0


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
