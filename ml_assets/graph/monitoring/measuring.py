"""How far each column has moved, by Evidently's measures of two samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ml_assets.errors import SpecError, did_you_mean
from ml_assets.ml.drift_measures import DISTANCES, PRESENCE, Measure, Measured, beyond, quiet
from ml_assets.ml.reference import PREDICTION
from ml_assets.spec.operation import ColumnDrift as Rule
from ml_assets.spec.operation import DriftMethod

if TYPE_CHECKING:
    import pandas as pd

# Effect sizes: a p-value says of many rows that any column has moved.
METHODS = {"number": "wasserstein", "category": "jensenshannon"}
# A column with fewer values on either side is compared by its share of rows with a value.
FEWEST_VALUES = 0.01
PRESENCE_LIMIT = 0.1
LOST = 0.5
DRAWS, MOST_DRAWN = 20, 5000


def measures(features: Mapping[str, str], rules: Mapping[str, Rule]) -> dict[str, Measure]:
    """How each feature and the prediction are measured, by `monitoring.columns` or by default.

    Args:
        features: Feature -> number | category.
        rules: `monitoring.columns`.

    Raises:
        SpecError: A rule is for a column that the model does not have, or names a measure of another kind of column.
    """
    kinds = {**features, PREDICTION: "number"}
    for name in rules:
        if name not in kinds:
            raise SpecError(
                f"monitoring.columns names {name!r}, which is no feature of the champion.",
                fix=did_you_mean(name, kinds),
            )
    return {name: _measure(name, kind, rules.get(name, Rule())) for name, kind in kinds.items()}


def _measure(name: str, kind: str, rule: Rule) -> Measure:
    method = rule.method or METHODS[kind]
    default = _test(method, kind)
    if default is None:
        fitting = [word for word in get_args(DriftMethod) if _test(word, kind) is not None]
        raise SpecError(
            f"monitoring.columns: {method} does not measure a {kind}.",
            where={"column": name},
            fix="valid: " + ", ".join(fitting),
        )
    return Measure(kind, method, rule.threshold or default.default_threshold, rule.threshold is not None, rule.ignore)


def _test(method: str, kind: str) -> Any:
    """Evidently's measure; None where it is not for such columns."""
    with quiet():
        from evidently.legacy.calculations.stattests.registry import (
            StatTestInvalidFeatureTypeError,
            get_registered_stattest,
        )

        try:
            return get_registered_stattest(method, _type(kind))
        except StatTestInvalidFeatureTypeError:
            return None


def _type(kind: str) -> Any:
    from evidently.legacy.core import ColumnType

    return ColumnType.Numerical if kind == "number" else ColumnType.Categorical


def measured(current: pd.Series, reference: pd.Series, measure: Measure) -> Measured:
    """How far a column has moved.

    The threshold of a distance that nobody set is raised to what so few rows show by chance: the largest of 20
    distances between the reference and rows that are sampled from it with a seed. A column that has values in less than
    1 % of the rows of either side is measured by its share of rows with a value; so is one whose values have not
    moved, but went missing in a tenth of the rows or more.
    """
    new, old = _values(current, measure.kind), _values(reference, measure.kind)
    shares = [len(values) / max(len(column), 1) for values, column in ((new, current), (old, reference))]
    lost, is_lost = shares[1] - shares[0], shares[0] < LOST * shares[1]
    by_presence = replace(measure, method=PRESENCE, threshold=PRESENCE_LIMIT, is_set=False)
    if min(shares) < FEWEST_VALUES:
        drifted = abs(lost) >= PRESENCE_LIMIT
        return Measured(by_presence, abs(lost), drifted, PRESENCE_LIMIT, len(new), len(old), is_lost and drifted)
    score, limit = _score(new, old, measure), measure.threshold
    if beyond(measure.method, score, limit) and not measure.is_set and measure.method in DISTANCES:
        limit = max(limit, _by_chance(len(new), old, measure))
    drifted = beyond(measure.method, score, limit)
    by_chance = 3 * math.sqrt(shares[1] * (1 - shares[1]) / max(len(current), 1))
    if lost >= PRESENCE_LIMIT + by_chance and (is_lost or not drifted):
        return Measured(by_presence, lost, True, PRESENCE_LIMIT + by_chance, len(new), len(old), is_lost)
    return Measured(measure, score, drifted, limit, len(new), len(old))


def _values(column: pd.Series, kind: str) -> pd.Series:
    if kind == "number":
        return column[np.isfinite(column.to_numpy())]
    return column.dropna()


def _score(new: pd.Series, old: pd.Series, measure: Measure) -> float:
    with quiet():
        return float(_test(measure.method, measure.kind)(old, new, _type(measure.kind), measure.threshold).drift_score)


def _by_chance(rows: int, old: pd.Series, measure: Measure) -> float:
    """The largest of 20 distances between the reference and draws from it, which are as uncertain as both samples."""
    alike = round(1 / (1 / rows + 1 / len(old)))
    if alike > MOST_DRAWN:
        return 0.0
    rng = np.random.default_rng(0)
    draws = (old.iloc[rng.integers(0, len(old), alike)] for _ in range(DRAWS))
    return max(_score(draw, old, measure) for draw in draws)
