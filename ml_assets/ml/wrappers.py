"""Classifiers around a classifier: class names for one that takes codes, balanced rows for one in a calibrator.

Imported inside functions only: it needs scikit-learn, which takes seconds to import.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone  # noqa: TID253  base classes
from sklearn.utils import get_tags  # noqa: TID253
from sklearn.utils.metaestimators import available_if  # noqa: TID253

from ml_assets.ml import balancing

Array = np.ndarray[Any, Any]


class ClassCodes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier over class names around one over codes 0..k-1; probabilities are in the order of `classes_`.

    Args:
        estimator: Unfitted classifier. Unlike scikit-learn's own wrappers it is fitted itself, not a clone of it.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, features: Any, labels: Array, sample_weight: Array | None = None) -> ClassCodes:
        self.classes_, codes = np.unique(labels, return_inverse=True)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.estimator.fit(features, codes, **weights)
        return self

    def predict_proba(self, features: Any) -> Array:
        return np.asarray(self.estimator.predict_proba(features))

    def predict(self, features: Any) -> Array:
        return np.asarray(self.classes_[self.predict_proba(features).argmax(axis=1)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


class BalancedRows(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier that balances the rows it is fitted on, so that a calibrator around it sees them as they are.

    Args:
        estimator: Unfitted classifier; a clone of it is fitted.
        balance: weights, undersample or oversample.
        seed: Seed of the draws.
    """

    def __init__(self, estimator: Any, balance: str, seed: int) -> None:
        self.estimator = estimator
        self.balance = balance
        self.seed = seed

    def fit(self, features: Any, labels: Array) -> BalancedRows:
        self.estimator_ = balancing.fit(clone(self.estimator), features, labels, self.balance, self.seed)
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
