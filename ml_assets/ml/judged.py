"""A model's predictions on labelled rows, and what they score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_assets import metrics
from ml_assets.metrics import weighted
from ml_assets.metrics.weighted import Statistic
from ml_assets.ml.bundle import Schema

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Judged:
    """A model's predictions on labelled rows.

    Args:
        rows: The rows as `training_sets.read` gives them.
        labels: As `estimators.label_array` returns them.
        scores: As `estimators.predict_scores` returns them.
        schema: Schema of the model's bundle.
        version: Version of the model.
        favoured: The decision whose share of rows is the `selection_rate`: 1, or the most frequent class of all rows.
        note: What a reader must know beside a comparison with it.
    """

    rows: pd.DataFrame
    labels: Array
    scores: Array
    schema: Schema
    version: str
    favoured: str | int = 1
    note: str = ""

    @property
    def predictions(self) -> metrics.ScoredPredictions:
        schema = self.schema
        return metrics.ScoredPredictions(self.labels, self.scores, schema.kind, schema.threshold, schema.classes)

    @property
    def decisions(self) -> Array:
        return self.predictions.decisions

    def score(self, metric: str) -> float:
        return metrics.METRICS[metric].value(self.predictions)

    def all_scores(self) -> dict[str, float]:
        """Every metric of the kind."""
        predictions = self.predictions
        return {metric.name: metric.value(predictions) for metric in metrics.of_kind(self.schema.kind)}

    def statistic(self, metric: str) -> Statistic:
        """The metric, or `selection_rate`, as a function of row weights."""
        if metric == "selection_rate":
            return weighted.mean(self.decisions == self.favoured)
        return metrics.METRICS[metric].weigh(self.predictions)

    def probabilities(self) -> tuple[Array, Array]:
        """Predicted probabilities, and whether each event was observed: of 1 (binary), of the likeliest class."""
        if self.schema.kind == "binary":
            return self.scores, self.labels
        return self.scores.max(axis=1), (self.decisions == self.labels).astype(int)

    def at(self, positions: Array) -> Judged:
        """The same on some of the rows."""
        return replace(
            self, rows=self.rows.iloc[positions], labels=self.labels[positions], scores=self.scores[positions]
        )

    def beside(self, other: Judged) -> Judged:
        """The same on the rows that another one of the same rows kept."""
        if len(other.rows) == len(self.rows):
            return self
        return self.at(self.rows.index.get_indexer(other.rows.index))
