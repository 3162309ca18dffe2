"""Fitting on balanced rows: the estimator itself, or the one inside a calibrator that sees rows as they are.

Imported inside functions only: it needs scikit-learn, which takes seconds to import.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone  # noqa: TID253  base classes
from sklearn.calibration import CalibratedClassifierCV  # noqa: TID253
from sklearn.utils import get_tags  # noqa: TID253
from sklearn.utils.metaestimators import available_if  # noqa: TID253
from sklearn.utils.validation import has_fit_parameter  # noqa: TID253

from ml_assets.errors import TrainingError
from ml_assets.ml.balancing import CLASS_WEIGHTS, row_weights, sampled

Array = np.ndarray[Any, Any]


def fit(estimator: Any, matrix: Any, labels: Array, balance: str = "none", seed: int = 0) -> Any:
    """Fit an estimator, or a calibrated one, on balanced rows; the calibrator itself sees rows as they are.

    Args:
        estimator: Unfitted; one that weighs classes by itself is fitted as it is.
        matrix: Preprocessed rows, shape (n, columns).
        labels: Labels, shape (n,).
        balance: As in the YAML.
        seed: Seed of the samples.

    Raises:
        TrainingError: The estimator cannot be given weights, and would need them.
    """
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
    return estimator.fit(*sampled(matrix, labels, weights))


def _fit_calibrated(calibrator: Any, inner: Any, matrix: Any, labels: Array, balance: str, seed: int) -> Any:
    """Fit with balanced rows inside, and take the wrapper away: a fitted model has no rows to balance."""
    calibrator.set_params(estimator=BalancedRows(inner, balance, seed)).fit(matrix, labels)
    calibrator.estimator = inner
    for part in calibrator.calibrated_classifiers_:
        part.estimator = part.estimator.estimator_
    return calibrator


def _check_takes_weights(estimator: Any, balance: str) -> None:
    if balance == "weights" and not has_fit_parameter(estimator, "sample_weight"):
        raise TrainingError(
            f"{type(estimator).__name__} takes neither weights of classes nor of rows.",
            found="preprocess: {balance: weights}",
            fix="Set balance: undersample or oversample.",
        )


def _weighs_classes(estimator: Any) -> bool:
    params = estimator.get_params()
    return any(params.get(name) == value for name, value in CLASS_WEIGHTS.items())


class BalancedRows(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier that balances the rows it is fitted on, so that a calibrator around it sees them as they are.

    Args:
        estimator: Unfitted classifier; a clone of it is fitted.
        balance: weights, undersample or oversample.
        seed: Seed of the samples.
    """

    def __init__(self, estimator: Any, balance: str, seed: int) -> None:
        self.estimator = estimator
        self.balance = balance
        self.seed = seed

    def fit(self, features: Any, labels: Array) -> BalancedRows:
        self.estimator_ = fit(clone(self.estimator), features, labels, self.balance, self.seed)
        self.classes_ = self.estimator_.classes_
        return self

    def predict(self, features: Any) -> Array:
        return np.asarray(self.estimator_.predict(features))

    @available_if(lambda self: hasattr(self.estimator, "predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, features: Any) -> Array:
        return np.asarray(self.estimator_.predict_proba(features))

    @available_if(lambda self: hasattr(self.estimator, "decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, features: Any) -> Array:
        return np.asarray(self.estimator_.decision_function(features))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags
