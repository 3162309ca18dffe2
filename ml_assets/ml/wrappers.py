"""Class names for a classifier that takes codes.

Imported inside functions only: it needs scikit-learn, which takes seconds to import.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin  # noqa: TID253  base classes
from sklearn.utils import get_tags  # noqa: TID253

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
