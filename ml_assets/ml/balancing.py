"""Rare classes that weigh as much as frequent ones: by an estimator's parameter, weights of rows, or drawn rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml_assets.errors import TrainingError

Array = np.ndarray[Any, Any]

# Parameters by which an estimator weighs classes itself, and their value: scikit-learn and LightGBM, CatBoost.
CLASS_WEIGHTS = {"class_weight": "balanced", "auto_class_weights": "Balanced"}


def class_weights(names: set[str], balance: str, path: str, params: Any) -> dict[str, str]:
    """The parameter that makes an estimator weigh classes; none where it has none, or none is asked for.

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
    """Weight of each row that makes classes weigh the same, shape (n,); for draws, how often each row was drawn.

    Args:
        labels: Labels, shape (n,).
        balance: weights, undersample (each class as often as the rarest) or oversample (as the most frequent).
        seed: Seed of the draws.
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


def drawn(matrix: Any, labels: Array, times: Array) -> tuple[Any, Array]:
    """Rows as often as they were drawn."""
    rows = np.repeat(np.arange(len(labels)), times.astype(int))
    return matrix[rows], labels[rows]


def fit(estimator: Any, matrix: Any, labels: Array, balance: str = "none", seed: int = 0) -> Any:
    """Fit an estimator, or a calibrated one, on balanced rows; the calibrator itself sees rows as they are.

    Args:
        estimator: Unfitted; one that weighs classes by itself is fitted as it is.
        matrix: Preprocessed rows, shape (n, columns).
        labels: Labels, shape (n,).
        balance: As in the YAML.
        seed: Seed of the draws.

    Raises:
        TrainingError: The estimator cannot be given weights, and would need them.
    """
    from sklearn.calibration import CalibratedClassifierCV

    calibrated = isinstance(estimator, CalibratedClassifierCV)
    inner = estimator.estimator if calibrated else estimator
    if balance == "none" or (balance == "weights" and _weighs_classes(inner)):
        return estimator.fit(matrix, labels)
    _check_takes_weights(inner, balance)
    if calibrated:
        return _fit_calibrated(estimator, inner, matrix, labels, balance, seed)
    weights = row_weights(labels, balance, seed)
    if balance == "weights":
        return estimator.fit(matrix, labels, sample_weight=weights)
    return estimator.fit(*drawn(matrix, labels, weights))


def _fit_calibrated(calibrator: Any, inner: Any, matrix: Any, labels: Array, balance: str, seed: int) -> Any:
    """Fit with balanced rows inside, and take the wrapper away: a fitted model has no rows to balance."""
    from ml_assets.ml.wrappers import BalancedRows

    calibrator.set_params(estimator=BalancedRows(inner, balance, seed)).fit(matrix, labels)
    calibrator.estimator = inner
    for part in calibrator.calibrated_classifiers_:
        part.estimator = part.estimator.estimator_
    return calibrator


def _check_takes_weights(estimator: Any, balance: str) -> None:
    from sklearn.utils.validation import has_fit_parameter

    if balance == "weights" and not has_fit_parameter(estimator, "sample_weight"):
        raise TrainingError(
            f"{type(estimator).__name__} takes neither weights of classes nor of rows.",
            found="preprocess: {balance: weights}",
            fix="Set balance: undersample or oversample.",
        )


def _weighs_classes(estimator: Any) -> bool:
    params = estimator.get_params()
    return any(params.get(name) == value for name, value in CLASS_WEIGHTS.items())
