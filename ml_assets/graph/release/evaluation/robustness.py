"""What changes a model's predictions: a little noise, missing values, and each feature shuffled."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_assets import metrics
from ml_assets.ml import estimators
from ml_assets.ml.judged import Array, Judged
from ml_assets.spec import PipelineSpec
from ml_assets.spec.model import SensitivityGate
from ml_assets.tables.evaluations import EvaluatedNumber

if TYPE_CHECKING:
    import pandas as pd

REPEATS = 5  # shuffles of each feature
MOST_ROWS = 20_000  # sample for what predicts once or more for each feature
MOST_PREDICTIONS = 500_000  # on that sample in all: some 2 s with trees
MOST_SECONDS = 10.0  # a slow model predicts fewer rows
MOVED = (
    0.1  # a regression's prediction has flipped when it moves by more than this, in standard deviations of the label
)


def robustness(spec: PipelineSpec, model: Any, judged: Judged) -> list[EvaluatedNumber]:
    """Flips under noise and under missing values, overall and for each feature, and permutation importance.

    All sampling is seeded. The gate of the YAML says how much noise and how many values; without one, its defaults do.
    """
    rule = spec.gates.sensitivity or SensitivityGate()
    probe = _Probe(model, judged, estimators.feature_frame(judged.rows, judged.schema.features), spec.tuning.seed)
    return [probe.noise(rule.noise), *probe.missing(rule.missing), *probe.importance(spec.metric)]


class _Probe:
    """A model and rows that are changed for it."""

    def __init__(self, model: Any, judged: Judged, features: pd.DataFrame, seed: int) -> None:
        self.model, self.judged, self.features, self.seed = model, judged, features, seed
        self.types = judged.schema.features
        self.sample = np.arange(len(features))

    def noise(self, size: float) -> EvaluatedNumber:
        """Numbers moved by normal noise, in their standard deviations."""
        rng = np.random.default_rng(self.seed)
        changed = self.features.copy()
        for name, kind in self.types.items():
            if kind == "number":
                spread = float(changed[name].std(skipna=True) or 0.0)
                changed[name] = changed[name] + rng.normal(0, spread * size, len(changed))
        started = time.monotonic()
        flips = self._flips(changed, self.judged)
        self.sample = _sample(len(changed), len(self.types), time.monotonic() - started, self.seed)
        return EvaluatedNumber("noise", "flips", flips, len(changed))

    def missing(self, share: float) -> list[EvaluatedNumber]:
        """A share of all values taken away, then all values of one feature after the other."""
        rng = np.random.default_rng(self.seed)
        holes = {name: rng.random(len(self.features)) < share for name in self.types}
        found = [self._without(self.features, self.judged, holes)]
        features, judged = self.features.iloc[self.sample], self.judged.at(self.sample)
        everything = np.ones(len(features), dtype=bool)
        return found + [self._without(features, judged, {name: everything}, name) for name in self.types]

    def importance(self, metric: str) -> list[EvaluatedNumber]:
        """What the metric loses when a feature's values are shuffled. Breiman 2001, sec. 10."""
        rng = np.random.default_rng(self.seed)
        features, judged = self.features.iloc[self.sample], self.judged.at(self.sample)
        rows, before = len(features), judged.score(metric)
        repeated = _repeated(features, REPEATS)
        found = []
        for name in self.types:
            values = features[name].to_numpy()
            order = np.concatenate([rng.permutation(rows) for _ in range(REPEATS)])
            shuffled = repeated.assign(**{name: values[order]})
            scores = estimators.predict_scores(self.model, shuffled, judged.schema.kind)
            lost = [
                metrics.METRICS[metric].gain(before, replace(judged, scores=part).score(metric))
                for part in np.split(scores, REPEATS)
            ]
            value, low, high = float(np.mean(lost)), min(lost), max(lost)
            found.append(EvaluatedNumber("importance", metric, value, rows, low, high, "feature", name))
        return found

    def _without(
        self, features: pd.DataFrame, judged: Judged, holes: dict[str, Array], name: str | None = None
    ) -> EvaluatedNumber:
        changed = features.assign(**{column: _emptied(features[column], hole) for column, hole in holes.items()})
        by = "feature" if name else None
        try:
            flips = self._flips(changed, judged)
        except ValueError as error:  # such as a linear model without `impute`
            note = f"the model cannot predict: {str(error).splitlines()[0]}"
            return EvaluatedNumber("missing", "flips", float("nan"), len(features), slice_by=by, slice=name, note=note)
        return EvaluatedNumber("missing", "flips", flips, len(features), slice_by=by, slice=name)

    def _flips(self, changed: pd.DataFrame, judged: Judged) -> float:
        """Share of rows whose prediction flips."""
        scores = estimators.predict_scores(self.model, changed, judged.schema.kind)
        return flips(judged, replace(judged, scores=scores))


def flips(before: Judged, after: Judged) -> float:
    """Share of rows that are decided differently; of a regression, whose value moves by more than `MOVED`."""
    if before.schema.kind == "regression":
        moved = np.abs(after.scores - before.scores) > MOVED * float(np.std(before.labels))
        return float(np.mean(moved))
    return float(np.mean(after.decisions != before.decisions))


def negative_flips(before: Judged, after: Judged) -> float:
    """Share of rows that become wrong (Yan et al. 2021); of a regression, whose error grows by `MOVED`."""
    if before.schema.kind == "regression":
        grown = np.abs(after.scores - after.labels) - np.abs(before.scores - before.labels)
        return float(np.mean(grown > MOVED * float(np.std(before.labels))))
    return float(np.mean((before.decisions == before.labels) & (after.decisions != after.labels)))


def _sample(rows: int, features: int, seconds: float, seed: int) -> Array:
    """Positions of the rows that are predicted again and again, in order."""
    per_row = (REPEATS + 1) * features
    most = min(rows, MOST_ROWS, max(MOST_PREDICTIONS // per_row, 1))
    while most > 100 and most * per_row * seconds / rows > MOST_SECONDS:
        most //= 2  # by halves: the same number on any machine of about the same speed
    sampled: Array = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return sampled


def _emptied(column: pd.Series, hole: Array) -> Array:
    values = column.to_numpy(copy=True)
    values[hole] = np.nan
    return values


def _repeated(frame: pd.DataFrame, times: int) -> pd.DataFrame:
    return frame.iloc[np.tile(np.arange(len(frame)), times)].reset_index(drop=True)
