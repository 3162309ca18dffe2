"""Models that ignore every feature, for a model to be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ml_assets import metrics

Array = np.ndarray[Any, Any]


def most_frequent(labels: Array) -> Any:
    """The label that most rows have; of equally frequent ones the first in order."""
    values, counts = np.unique(labels, return_counts=True)
    return values[counts.argmax()]


def dummy_scores(train: Array, rows: int, kind: str) -> Array:
    """What a model predicts that ignores every feature: scikit-learn's dummy with the training prior or mean."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    from ml_assets.ml.estimators import predict_scores

    dummy = DummyRegressor() if kind == "regression" else DummyClassifier(strategy="prior")
    dummy.fit(np.zeros((len(train), 1)), train)
    return predict_scores(dummy, np.zeros((rows, 1)), kind)


def dummy_score(
    metric: str, train: Array, labels: Array, kind: str, threshold: float | None = None, classes: Sequence[str] = ()
) -> float:
    """The metric of a model that ignores every feature."""
    return metrics.score(metric, labels, dummy_scores(train, len(labels), kind), kind, threshold, classes)
