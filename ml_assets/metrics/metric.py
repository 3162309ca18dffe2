"""What a metric knows of itself; `registry` has them all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ml_assets.metrics.predictions import Predictions
from ml_assets.metrics.weighted import Statistic

Kind = Literal["binary", "multiclass", "regression"]
NAN = float("nan")


def _never(_: Predictions) -> bool:
    return False


@dataclass(frozen=True)
class Metric:
    """A metric of predictions on held-out rows.

    Args:
        name: As in the YAML.
        description: One line for the docs.
        kinds: Targets that it is defined for.
        is_higher_better: Its direction.
        bounds: Least and greatest value.
        needs: What of `Predictions` it is computed from, beside the labels.
        scorer: scikit-learn's name of it in `sklearn.metrics.get_scorer`, where it has one; some give its negative.
        compute: Its value.
        weigh: It as a function of row weights; NaN where it is not defined on them.
        needs_two_classes: NaN on rows of one class only (binary).
        says_nothing: Has it a value on these rows that tells nothing about the model, such as a recall of no positives?
    """

    name: str
    description: str
    kinds: tuple[Kind, ...]
    is_higher_better: bool
    bounds: tuple[float, float]
    needs: Literal["scores", "decisions", "outcome_probability"]
    scorer: str | None
    compute: Callable[[Predictions], float]
    weigh: Callable[[Predictions], Statistic]
    needs_two_classes: bool = False
    says_nothing: Callable[[Predictions], bool] = _never

    @property
    def sign(self) -> int:
        """What makes a greater value the better one."""
        return 1 if self.is_higher_better else -1

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Optuna's word for it."""
        return "maximize" if self.is_higher_better else "minimize"

    @property
    def is_bounded(self) -> bool:
        """Can all its values be shown on one axis?"""
        return all(map(math.isfinite, self.bounds))

    @property
    def drops_as_share(self) -> bool:
        """Is a drop a share of what it dropped from? Its unit is the target's, or it has no upper end."""
        return math.isinf(self.bounds[1])

    def gain(self, value: float, other: float) -> float:
        """How much better `value` is than `other`; positive is better whatever the direction."""
        return value - other if self.is_higher_better else other - value

    def drop(self, value: float | None, before: float | None) -> float | None:
        """How much worse a value is than the one before, some as a share of it (`drops_as_share`)."""
        if value is None or before is None:
            return None
        loss = self.gain(before, value)
        return loss / before if self.drops_as_share and before else loss

    def format_drop(self, drop: float) -> str:
        """A drop or its limit for people."""
        return f"{drop:.1%}" if self.drops_as_share else f"{drop:.4g}"

    def is_known(self, predictions: Predictions) -> bool:
        """Do these predictions have what it needs?"""
        return getattr(predictions, self.needs) is not None

    def value(self, predictions: Predictions) -> float:
        """Its value; NaN where it is not defined on these rows, such as ROC AUC on one class."""
        if self.needs_two_classes and predictions.kind == "binary" and len(np.unique(predictions.labels)) < 2:
            return NAN
        return float(self.compute(predictions))
