"""What metrics are computed from: a model's predictions of rows, beside their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


class Predictions(Protocol):
    """A model's predictions of n labelled rows; what is not known of them is None."""

    @property
    def kind(self) -> str:
        """binary, multiclass or regression."""

    @property
    def labels(self) -> Array:
        """0/1 (binary), the class (multiclass), the value (regression); shape (n,)."""

    @property
    def scores(self) -> Array:
        """Probability of 1 (binary), of each class (multiclass), the predicted value (regression)."""

    @property
    def decisions(self) -> Array:
        """What was decided, as the labels are; shape (n,)."""

    @property
    def outcome_probability(self) -> Array | None:
        """Probability that the model gave to each row's label; None in a regression."""


@dataclass(frozen=True)
class ScoredPredictions:
    """Predictions that follow from a model's scores.

    Args:
        labels: As `estimators.label_array` returns them.
        scores: As `estimators.predict_scores` returns them.
        kind: Kind of the target.
        threshold: From which score on 1 is decided; None is 0.5.
        classes: Classes of the columns of `scores` (multiclass).
    """

    labels: Array
    scores: Array
    kind: str
    threshold: float | None = None
    classes: Sequence[str] = ()

    @cached_property
    def decisions(self) -> Array:
        return decide(self.scores, self.kind, self.threshold, self.classes)

    @cached_property
    def outcome_probability(self) -> Array | None:
        if self.kind == "regression":
            return None
        if self.kind == "binary":
            return outcome_probability(self.labels, self.scores)
        # A class that the model does not know had no probability.
        given: Array = (self.scores * (self.labels[:, None] == np.asarray(self.classes)[None, :])).sum(axis=1)
        return given


def decide(scores: Array, kind: str, threshold: float | None, classes: Sequence[str] = ()) -> Array:
    """Decisions from scores: 0/1 by threshold, the likeliest class, or the value itself."""
    if kind == "binary":
        return (scores >= (0.5 if threshold is None else threshold)).astype(int)
    return np.asarray(classes)[scores.argmax(axis=1)] if kind == "multiclass" else scores


def outcome_probability(labels: Array, scores: Array) -> Array:
    """Probability that was given to each label, from that of 1."""
    return np.where(labels == 1, scores, 1 - scores)
