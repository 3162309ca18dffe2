"""Rare classes that weigh as much as frequent ones: by an estimator's parameter, weights of rows, or sampled rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml_assets.errors import TrainingError

Array = np.ndarray[Any, Any]

# Parameters by which an estimator weighs classes itself, and their value: scikit-learn and LightGBM, CatBoost.
CLASS_WEIGHTS = {"class_weight": "balanced", "auto_class_weights": "Balanced"}


def class_weights(names: set[str], balance: str, path: str, params: Any) -> dict[str, str]:
    """The parameter that makes an estimator weigh classes; none where it has none, or none is requested.

    Raises:
        TrainingError: The YAML sets the same parameter.
    """
    if balance != "weights":
        return {}
    found = {name: value for name, value in CLASS_WEIGHTS.items() if name in names}
    twice = sorted(set(found) & set(params))
    if twice:
        raise TrainingError(
            "Classes are weighed twice.",
            found=f"preprocess: {{balance: weights}} and {twice[0]} of {path}",
            fix="Keep one of them.",
        )
    return found


def row_weights(labels: Array, balance: str, seed: int) -> Array:
    """Weight of each row that makes classes weigh the same, shape (n,); for samples, how often each row was sampled.

    Args:
        labels: Labels, shape (n,).
        balance: weights, undersample (each class as often as the rarest) or oversample (as the most frequent).
        seed: Seed of the samples.
    """
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if balance == "weights":
        return np.asarray((len(labels) / (len(classes) * counts))[codes], dtype="float64")
    rng = np.random.default_rng(seed)
    weights = np.ones(len(labels)) if balance == "oversample" else np.zeros(len(labels))
    for code, count in enumerate(counts):
        rows = np.flatnonzero(codes == code)
        if balance == "undersample":
            weights[rng.choice(rows, counts.min(), replace=False)] = 1
        else:
            np.add.at(weights, rng.choice(rows, counts.max() - count), 1)
    return weights


def sampled(matrix: Any, labels: Array, times: Array) -> tuple[Any, Array]:
    """Rows as often as they were sampled."""
    rows = np.repeat(np.arange(len(labels)), times.astype(int))
    return matrix[rows], labels[rows]
