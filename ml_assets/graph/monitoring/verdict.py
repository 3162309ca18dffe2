"""The verdict on one batch: which columns have moved, where to, and how much of the model rests on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_assets.graph.monitoring.measuring import FEWEST_VALUES, measured
from ml_assets.ml.drift_measures import PRESENCE, Measure, Measured
from ml_assets.ml.reference import PREDICTION, Reference
from ml_assets.spec.operation import Monitoring
from ml_assets.tables.drift import BatchDrift, MeasuredColumn

if TYPE_CHECKING:
    import pandas as pd

MOVED = 0.05  # standard deviations, from which on a mean counts as moved


def judged(
    current: pd.DataFrame,
    reference: Reference,
    how: Mapping[str, Measure],
    importance: Mapping[str, float],
    rules: Monitoring,
    rows: int,
) -> BatchDrift:
    """Measure every column of a batch's sample and judge it; a batch of too few rows is not measured.

    Args:
        current: Sample of the batch: the features and `prediction`.
        reference: What the version was fitted on.
        how: Column -> how it is measured.
        importance: Feature -> importance, as the evaluation found it.
        rules: `monitoring` of the YAML.
        rows: Rows of the batch.
    """
    old = reference.rows
    if rows < rules.min_rows:
        unjudged = f"{rows:,} rows are fewer than monitoring.min_rows ({rules.min_rows:,})"
        return BatchDrift([], rules.drift_share, rows, len(old), unjudged)
    found = {name: measured(current[name], old[name], measure) for name, measure in how.items()}
    to = {name: direction(current[name], old[name], one, reference.facts.get(name)) for name, one in found.items()}
    return judge(found, to, importance, rules.drift_share, rows, len(old))


def judge(
    found: Mapping[str, Measured],
    directions: Mapping[str, str],
    importance: Mapping[str, float],
    limit: float,
    rows: int,
    reference_rows: int,
) -> BatchDrift:
    """The verdict on measured columns.

    Args:
        found: Column -> what was measured.
        directions: Column -> where it moved to.
        importance: Feature -> importance, as the evaluation found it.
        limit: monitoring.drift_share.
        rows: Rows of the batch.
        reference_rows: Rows of the reference's sample.
    """
    share = weights([name for name, one in found.items() if not one.measure.ignored], importance)
    columns = [
        MeasuredColumn(
            column=name,
            method=one.measure.method,
            score=one.score,
            threshold=one.limit,
            drifted=one.drifted,
            direction=directions[name],
            importance=share.get(name, 0.0),
            rows=one.rows,
            reference_rows=one.reference_rows,
            ignored=one.measure.ignored,
        )
        for name, one in found.items()
    ]
    columns.sort(
        key=lambda column: (not column.drifted, column.ignored, -column.importance, -column.far, column.column)
    )
    unjudged = "" if share else "monitoring.columns ignores every column"
    lost = [name for name, one in found.items() if one.is_lost and not one.measure.ignored]
    return BatchDrift(columns, limit, rows, reference_rows, unjudged, lost)


def weights(columns: Sequence[str], importance: Mapping[str, float]) -> dict[str, float]:
    """Share of the importance of each column that counts; together 1.

    What shuffling a feature costs the metric, as the evaluation measured it, and nothing where it costs less than
    nothing; equal shares where no feature costs anything. The prediction counts as one feature of average importance.
    """
    features = [name for name in columns if name != PREDICTION]
    known = {name: max(importance.get(name) or 0.0, 0.0) for name in features}
    known = {name: 0.0 if value != value else value for name, value in known.items()}  # NaN was not measured
    if not sum(known.values()):
        known = dict.fromkeys(features, 1.0)
    if PREDICTION in columns:
        known[PREDICTION] = sum(known.values()) / len(features) if features else 1.0
    total = sum(known.values())
    return {name: value / total for name, value in known.items()}


def direction(current: pd.Series, reference: pd.Series, one: Measured, fact: Mapping[str, Any] | None = None) -> str:
    """Where a column moved to, in words.

    A number: its mean, in standard deviations of the reference; where the mean stays, its spread. A category: the value
    whose share changed most.

    Args:
        current: Sample of the batch.
        reference: Sample of the fitted rows.
        one: What was measured.
        fact: Facts of all fitted rows; by default of the sample.
    """
    if one.measure.method == PRESENCE:
        shares = [n / max(len(side), 1) for n, side in ((one.reference_rows, reference), (one.rows, current))]
        words = ("no values any more", "fewer values", "values where there were none")
        word = words[2 if shares[1] >= shares[0] else 0 if shares[1] < FEWEST_VALUES else 1]
        return f"{word}: from {shares[0]:.0%} to {shares[1]:.0%} of the rows" if one.drifted else "hardly any values"
    if one.measure.kind == "category":
        return _gained(current, reference)
    values = current[current.abs() < float("inf")]
    old = reference[reference.abs() < float("inf")]
    before, spread = (fact["mean"], fact["std"]) if fact else (float(old.mean()), float(old.std(ddof=0)))
    mean, now = float(values.mean()), float(values.std(ddof=0))
    if not spread:
        return f"from always {before:.4g} to {mean:.4g} on average"
    moved = (mean - before) / spread
    if abs(moved) >= MOVED:
        return f"mean {'up' if moved > 0 else 'down'} {abs(moved):.2g} std, from {before:.4g} to {mean:.4g}"
    if abs(now / spread - 1) >= MOVED:
        return f"{'wider' if now > spread else 'narrower'}: std from {spread:.4g} to {now:.4g}"
    return "the same mean and spread, another shape"


def _gained(current: pd.Series, reference: pd.Series) -> str:
    new, old = current.value_counts(normalize=True), reference.value_counts(normalize=True)
    change = new.sub(old, fill_value=0.0).sort_index()
    value: Any = change.abs().idxmax()
    word = "gained" if change[value] > 0 else "lost"
    return f"{value!r} {word} {abs(change[value]):.1%}, from {old.get(value, 0.0):.1%} to {new.get(value, 0.0):.1%}"
