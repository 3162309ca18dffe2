"""Live scores: what versions predicted for a batch, against its known outcomes, and compared with their test scores.

All versions are scored on the same rows. Values are over all of them; intervals are a bootstrap, of large batches over
a seeded sample of about `SAMPLE` rows. The deviations found there are scaled by sqrt(sample / rows), as those of
estimates that converge with the root of the rows (Politis and Romano 1994).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ml_assets import metrics
from ml_assets.errors import ModelError
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.metrics import weighted
from ml_assets.ml import bundle
from ml_assets.spec import Performance, PipelineSpec
from ml_assets.tables import evaluations, outcomes, predictions, releases, versions
from ml_assets.tables.predictions import PREDICTIONS, ScoredBy
from ml_assets.tables.versions import now

Array = np.ndarray[Any, Any]

SAMPLE = 50_000


@dataclass(frozen=True)
class StoredPredictions:
    """What a version predicted for rows, as the lake holds it, and what was observed.

    Args:
        kind: Kind of the target.
        labels: 0/1 (binary), a code of the class (multiclass), the value (regression); shape (n,).
        scores: Probability of 1 (binary), the value (regression).
        decisions: As the labels.
        given: Probability that was given to the observed class (multiclass); None where it is not known.
    """

    kind: str
    labels: Array
    scores: Array
    decisions: Array
    given: Array | None = None

    @property
    def outcome_probability(self) -> Array | None:
        return metrics.outcome_probability(self.labels, self.scores) if self.kind == "binary" else self.given

    def at(self, rows: Array) -> StoredPredictions:
        """The same on some of the rows."""
        given = None if self.given is None else self.given[rows]
        return StoredPredictions(self.kind, self.labels[rows], self.scores[rows], self.decisions[rows], given)


@dataclass(frozen=True)
class MeasuredRows:
    """Where predictions and labels are read from, each as SQL that can follow FROM.

    Args:
        predictions: With the columns of the table `predictions`.
        labels: With batch, row_id and label.
    """

    predictions: str
    labels: str


@dataclass(frozen=True)
class Score:
    """A metric of one version; None where it is not defined.

    Args:
        value: Over all rows.
        low: Lower end of its interval.
        high: Upper end.
        gain: How much better than the champion, and the interval of that.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    gain: tuple[float | None, float | None, float | None] = (None, None, None)


def report(lake: Lake, paths: Paths, spec: PipelineSpec, batch: str) -> list[dict[str, Any]]:
    """The rows of `performance_report` for a batch; none where no outcome is known yet.

    Raises:
        BatchRefused: The batch has no predictions.
    """
    measured_at, until = now(), outcomes.newest(lake, spec.name) if spec.outcomes else None
    versions = predictions.scored_by(lake, spec.name, batch)
    when = {"measured_at": measured_at, "outcomes_until": until}
    return report_of(lake, paths, spec, batch, versions, of_batches(lake, spec), when)


def of_batches(lake: Lake, spec: PipelineSpec) -> MeasuredRows:
    """The predictions of batches, and the outcomes that are known."""
    known = outcomes.known_sql(spec.name, outcomes.late(lake, spec))
    return MeasuredRows(
        PREDICTIONS.sql(spec.name), f"(SELECT batch, row_id, ({spec.target.sql}\n) AS label FROM {known})"
    )


def report_of(
    lake: Lake,
    paths: Paths,
    spec: PipelineSpec,
    batch: str,
    versions: Sequence[ScoredBy],
    source: MeasuredRows,
    when: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The rows of a report on these versions, scored on the rows that all of them predicted; `when` is on each."""
    rows = open_rows(lake, spec, batch, len(versions), source)
    if not rows:
        return []
    found = measure(lake, paths, spec, batch, versions, rows, source)
    scored = evaluations.test_scores(lake, spec.name, [version.number for version in versions])
    lines = []
    for version in versions:
        for metric in metrics.names(spec.target.kind):
            place = version.number, metric
            line = as_row(spec, version, metric, found[place], rows, scored.get(place))
            lines.append({"batch": batch, **line, **when})
    return lines


def as_row(
    spec: PipelineSpec, version: ScoredBy, metric: str, score: Score, rows: int, test_score: float | None
) -> dict[str, Any]:
    """A row of `performance_report` without the batch and the times."""
    judged = version.role == "champion" and metric == spec.performance_metric
    limits = spec.monitoring.performance
    decayed, why = verdict(metric, score, rows, test_score, version.seen, limits) if judged else (None, None)
    gain, gain_low, gain_high = score.gain
    return {
        "model_version": version.number,
        "role": version.role,
        "metric": metric,
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "rows": rows,
        "test_score": test_score,
        "drop": metrics.METRICS[metric].drop(score.value, test_score),
        "gain": gain,
        "gain_low": gain_low,
        "gain_high": gain_high,
        "judged": judged,
        "decayed": decayed,
        "seen": version.seen,
        "why": why,
    }


def open_rows(lake: Lake, spec: PipelineSpec, batch: str, versions: int, source: MeasuredRows | None = None) -> int:
    """The rows of a batch with a known outcome that all its versions have scored; returns how many.

    They are the temporary table `measured`: row_id, label, and whether it is in the sample for the intervals.
    """
    source = source or of_batches(lake, spec)
    labels = source.labels
    label = predictions.label_sql(spec.target.kind, lake.columns(labels)["label"])
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE measured AS
        SELECT row_id, {label} AS label, true AS sampled
        FROM {labels} SEMI JOIN (
            SELECT row_id FROM {source.predictions} WHERE batch = $batch
            GROUP BY row_id HAVING count(DISTINCT model_version) = $versions) USING (row_id)
        WHERE batch = $batch AND label IS NOT NULL""",
        {"batch": batch, "versions": versions},
    )
    rows = int(lake.con.execute("SELECT count(*) FROM measured").fetchall()[0][0])
    if rows > SAMPLE:
        lake.con.execute(
            """UPDATE measured SET sampled =
            md5_number_lower(concat_ws(chr(31), $seed, row_id))::DOUBLE / 18446744073709551616 < $share""",
            {"seed": str(spec.tuning.seed), "share": SAMPLE / rows},
        )
    return rows


def measure(
    lake: Lake,
    paths: Paths,
    spec: PipelineSpec,
    batch: str,
    versions: Sequence[ScoredBy],
    rows: int,
    source: MeasuredRows,
) -> dict[tuple[str, str], Score]:
    """(version, metric) -> its score over the rows of `measured`. One version's predictions are in memory at a time."""
    kind, values, samples, size = spec.target.kind, {}, {}, 0
    for version in versions:
        predicted, sampled = predicted_and_observed(lake, paths, spec, batch, version, source.predictions)
        for metric in metrics.of_kind(kind):
            known = metric.is_known(predicted)
            values[version.number, metric.name] = metric.weigh(predicted)(np.ones(rows)) if known else math.nan
        samples[version.number] = predicted.at(sampled)
        size = len(sampled)
    return with_intervals(values, samples, kind, size, rows, spec.tuning.seed)


def predicted_and_observed(
    lake: Lake, paths: Paths, spec: PipelineSpec, batch: str, version: ScoredBy, name: str
) -> tuple[StoredPredictions, Array]:
    """A version's predictions for the rows of `measured`, ordered by row_id, and positions of those in the sample.

    `name` is the relation of the predictions.
    """
    kind = spec.target.kind
    values: dict[str, object] = {"batch": batch, "version": version.number}
    columns = (
        "m.label, p.score, p.score AS decision" if kind == "regression" else "m.label, p.score, p.decision::TINYINT"
    )
    classes = None
    if kind == "multiclass":
        classes = _classes(lake, paths, spec.name, version) if "probabilities" in lake.columns(name) else None
        values["names"] = [
            row[0]
            for row in lake.con.execute(
                f"""SELECT label FROM measured UNION
                SELECT decision FROM {name} WHERE batch = ? AND model_version = ? ORDER BY 1""",
                [batch, version.number],
            ).fetchall()
        ]
        columns = "list_position($names, m.label), p.score, list_position($names, p.decision)"
    if classes is not None:
        values["classes"] = classes
        columns += ", coalesce(p.probabilities[list_position($classes, m.label)], 0) AS given, p.probabilities IS NULL"
    found = lake.con.execute(
        f"""SELECT m.sampled, {columns} FROM measured m
        JOIN {name} p ON p.row_id = m.row_id AND p.batch = $batch AND p.model_version = $version ORDER BY m.row_id""",
        values,
    ).to_arrow_table()
    sampled, label, score, decision, *others = (column.to_numpy() for column in found.columns)
    given = others[0] if others and not others[1].any() else None
    return StoredPredictions(kind, label, score, decision, given), np.flatnonzero(sampled)


def _classes(lake: Lake, paths: Paths, pipeline: str, version: ScoredBy) -> list[str] | None:
    """A version's classes in the order of its probabilities; None where its bundle is gone."""
    try:
        served = releases.served(lake, pipeline, versions.need_version(lake, pipeline, version.number))
        return bundle.verify(paths.artifacts.bundles.fetch(served.bundle), served.bundle_sha256).classes
    except ModelError:
        return None


def with_intervals(
    values: Mapping[tuple[str, str], float],
    samples: Mapping[str, StoredPredictions],
    kind: str,
    size: int,
    rows: int,
    seed: int,
) -> dict[tuple[str, str], Score]:
    """Values with intervals from samples of the same `size` rows, and the gains of others over the first version."""
    statistics = {
        (version, metric.name): metric.weigh(predicted)
        for version, predicted in samples.items()
        for metric in metrics.of_kind(kind)
        if metric.is_known(predicted)
    }
    resampled = dict(
        zip(statistics, weighted.bootstrap(list(statistics.values()), size, seed).T, strict=True) if size else []
    )
    ones, scale, first = np.ones(size), math.sqrt(size / rows), next(iter(samples))
    centres = {place: statistics[place](ones) for place in resampled}

    def between(value: float, deviations: Array) -> tuple[float | None, float | None]:
        low, high = weighted.interval(value + scale * deviations)
        return _or_none(low), _or_none(high)

    found = {}
    for place, value in values.items():
        version, metric = place
        if math.isnan(value) or place not in resampled:
            found[place] = Score()
            continue
        found[place] = score = Score(value, *between(value, resampled[place] - centres[place]))
        beside = (first, metric)
        if version != first and beside in resampled and not math.isnan(values[beside]):
            sign = metrics.METRICS[metric].sign
            gain = sign * (value - values[beside])
            gains = sign * (resampled[place] - resampled[beside])
            centre = sign * (centres[place] - centres[beside])
            found[place] = replace(score, gain=(gain, *between(gain, gains - centre)))
    return found


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def verdict(
    metric: str, score: Score, rows: int, test_score: float | None, seen: bool | None, limits: Performance
) -> tuple[bool | None, str]:
    """Has the score decayed, and why; None where there is no verdict.

    It has where the drop exceeds the limit and the interval excludes the test score.
    """
    lost = metrics.METRICS[metric].drop(score.value, test_score)
    if seen or seen is None:
        known = "The version has seen" if seen else "It is not known whether the version has seen"
        return None, f"No verdict: {known[0].lower()}{known[1:]} this batch."
    if rows < limits.min_rows:
        return None, f"No verdict: {rows:,} rows with a known outcome are fewer than {limits.min_rows:,}."
    if score.value is None or score.low is None or score.high is None:
        return None, f"No verdict: {metric} is not defined on these rows."
    if test_score is None or lost is None:
        return None, f"No verdict: evaluation_report has no {metric} of the version on its test rows."
    greater = metrics.METRICS[metric].is_higher_better
    excluded = score.high < test_score if greater else score.low > test_score
    measured = (
        f"{metric} {score.value:.4g} [{score.low:.4g}, {score.high:.4g}] on {rows:,} rows; test score {test_score:.4g}"
    )
    much = metrics.METRICS[metric].format_drop(lost)
    most = metrics.METRICS[metric].format_drop(limits.max_drop)
    if lost <= limits.max_drop:
        return False, f"Holds: {measured}. " + (f"Worse by {much}, the limit is {most}." if lost > 0 else "Not worse.")
    if not excluded:
        return False, f"Holds: {measured}. Worse by {much}, but the interval includes the test score."
    return True, f"Decayed: {measured}. Worse by {much}, more than the limit of {most}."
