"""Metrics of predictions: one object each (`registry`), what they are computed from, and their bootstrap intervals.

Below the YAML's model, because the YAML accepts their names. What a metric is used for lies elsewhere: thresholds,
calibration and baselines in `ml`, gates in `graph/release/promotion`.
"""

from ml_assets.metrics.metric import Kind, Metric
from ml_assets.metrics.predictions import Predictions, ScoredPredictions, decide, outcome_probability
from ml_assets.metrics.registry import (
    DEFAULT,
    METRICS,
    UNITLESS,
    losses_of,
    names,
    of_kind,
    score,
    statistic,
)

__all__ = [
    "DEFAULT",
    "METRICS",
    "UNITLESS",
    "Kind",
    "Metric",
    "Predictions",
    "ScoredPredictions",
    "decide",
    "losses_of",
    "names",
    "of_kind",
    "outcome_probability",
    "score",
    "statistic",
]
