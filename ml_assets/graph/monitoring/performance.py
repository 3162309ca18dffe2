"""Live scores: what versions said of a batch, against the outcomes that are known, beside what their tests promised.

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

from ml_assets.errors import ModelError
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.ml import bundle, metrics, weighted
from ml_assets.ml.weighted import Statistic
from ml_assets.spec import METRICS, Performance, PipelineSpec
from ml_assets.tables import evaluations, outcomes, predictions, releases, versions
from ml_assets.tables.predictions import PREDICTIONS, ScoredBy
from ml_assets.tables.versions import now

Array = np.ndarray[Any, Any]

SAMPLE = 50_000


@dataclass(frozen=True)
class Answers:
    """What a version said of rows, and what came true.

    Args:
        labels: 0/1 (binary), a code of the class (multiclass), the value (regression); shape (n,).
        scores: Probability of 1 (binary), the value (regression).
        decisions: As the labels.
        given: Probability that was given to what came true (multiclass); None where it is not known.
    """

    labels: Array
    scores: Array
    decisions: Array
    given: Array | None = None

    def at(self, rows: Array) -> Answers:
        """The same on some of the rows."""
        given = None if self.given is None else self.given[rows]
        return Answers(self.labels[rows], self.scores[rows], self.decisions[rows], given)

    def statistic(self, metric: str, kind: str) -> Statistic | None:
        """The metric as a function of row weights; None where it cannot be told from what was kept."""
        if metric == "log_loss" and kind == "multiclass":
            return None if self.given is None else weighted.mean(metrics.losses_of(self.given))
        if kind == "regression" or metric in ("roc_auc", "average_precision", "log_loss", "brier"):
            return weighted.statistic(metric, self.labels, self.scores, kind)
        return weighted.of_decisions(metric, self.labels, self.decisions)


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
    rows = open_rows(lake, spec, batch, len(versions))
    if not rows:
        return []
    found = measure(lake, paths, spec, batch, versions, rows)
    scored = evaluations.test_scores(lake, spec.name, [version.number for version in versions])
    when = {"measured_at": measured_at, "outcomes_until": until}
    lines = []
    for version in versions:
        for metric in METRICS[spec.target.kind]:
            place = version.number, metric
            line = as_row(spec, version, metric, found[place], rows, scored.get(place))
            lines.append({"batch": batch, **line, **when})
    return lines


def as_row(
    spec: PipelineSpec, version: ScoredBy, metric: str, score: Score, rows: int, promise: float | None
) -> dict[str, Any]:
    """A row of `performance_report` without the batch and the times."""
    judged = version.role == "champion" and metric == spec.performance_metric
    limits = spec.monitoring.performance
    decayed, why = verdict(metric, score, rows, promise, version.seen, limits) if judged else (None, None)
    gain, gain_low, gain_high = score.gain
    return {
        "model_version": version.number,
        "role": version.role,
        "metric": metric,
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "rows": rows,
        "test_score": promise,
        "drop": metrics.drop(metric, score.value, promise),
        "gain": gain,
        "gain_low": gain_low,
        "gain_high": gain_high,
        "judged": judged,
        "decayed": decayed,
        "seen": version.seen,
        "why": why,
    }


def open_rows(lake: Lake, spec: PipelineSpec, batch: str, versions: int) -> int:
    """The rows of a batch with a known outcome that all its versions have scored; returns how many.

    They are the temporary table `measured`: row_id, label, and whether it is in the sample for the intervals.
    """
    known = outcomes.known_sql(spec.name, outcomes.late(lake, spec))
    labels = f"(SELECT batch, row_id, ({spec.target.sql}\n) AS label FROM {known})"
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE measured AS
        SELECT row_id, {_label_sql(spec.target.kind, lake.columns(labels)["label"])} AS label, true AS sampled
        FROM {labels} SEMI JOIN (
            SELECT row_id FROM {PREDICTIONS.sql(spec.name)} WHERE batch = $batch
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


def _label_sql(kind: str, sql_type: str) -> str:
    """The label as predictions have it; classes are called as pandas calls them, in which models were fitted."""
    if kind == "multiclass":
        if sql_type == "BOOLEAN":
            return "CASE WHEN label THEN 'True' ELSE 'False' END"
        return "label::DOUBLE::VARCHAR" if sql_type.startswith("DECIMAL") else "label::VARCHAR"
    return "label::TINYINT" if kind == "binary" else "label::DOUBLE"


def measure(
    lake: Lake, paths: Paths, spec: PipelineSpec, batch: str, versions: Sequence[ScoredBy], rows: int
) -> dict[tuple[str, str], Score]:
    """(version, metric) -> its score over the rows of `measured`. One version's answers are in memory at a time."""
    kind, values, samples, size = spec.target.kind, {}, {}, 0
    for version in versions:
        said, sampled = answers(lake, paths, spec, batch, version)
        for metric in METRICS[kind]:
            statistic = said.statistic(metric, kind)
            values[version.number, metric] = statistic(np.ones(rows)) if statistic else math.nan
        samples[version.number] = said.at(sampled)
        size = len(sampled)
    return with_intervals(values, samples, kind, size, rows, spec.tuning.seed)


def answers(lake: Lake, paths: Paths, spec: PipelineSpec, batch: str, version: ScoredBy) -> tuple[Answers, Array]:
    """What a version said of the rows of `measured`, ordered by row_id, and positions of those in the sample."""
    name, kind = PREDICTIONS.sql(spec.name), spec.target.kind
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
    return Answers(label, score, decision, given), np.flatnonzero(sampled)


def _classes(lake: Lake, paths: Paths, pipeline: str, version: ScoredBy) -> list[str] | None:
    """A version's classes in the order of its probabilities; None where its bundle does not tell any more."""
    try:
        served = releases.served(lake, pipeline, versions.need_version(lake, pipeline, version.number))
        return bundle.verify(paths.bundles / served.bundle, served.bundle_sha256).classes
    except ModelError:
        return None


def with_intervals(
    values: Mapping[tuple[str, str], float],
    samples: Mapping[str, Answers],
    kind: str,
    size: int,
    rows: int,
    seed: int,
) -> dict[tuple[str, str], Score]:
    """Values with intervals from samples of the same `size` rows, and the gains of others over the first version."""
    statistics = {
        (version, metric): statistic
        for version, said in samples.items()
        for metric in METRICS[kind]
        if (statistic := said.statistic(metric, kind)) is not None
    }
    drawn = dict(
        zip(statistics, weighted.bootstrap(list(statistics.values()), size, seed).T, strict=True) if size else []
    )
    ones, scale, first = np.ones(size), math.sqrt(size / rows), next(iter(samples))
    centres = {place: statistics[place](ones) for place in drawn}

    def between(value: float, deviations: Array) -> tuple[float | None, float | None]:
        low, high = metrics.interval(value + scale * deviations)
        return _or_none(low), _or_none(high)

    found = {}
    for place, value in values.items():
        version, metric = place
        if math.isnan(value) or place not in drawn:
            found[place] = Score()
            continue
        found[place] = score = Score(value, *between(value, drawn[place] - centres[place]))
        beside = (first, metric)
        if version != first and beside in drawn and not math.isnan(values[beside]):
            sign = 1 if metrics.greater_is_better(metric) else -1
            gain = sign * (value - values[beside])
            gains = sign * (drawn[place] - drawn[beside])
            centre = sign * (centres[place] - centres[beside])
            found[place] = replace(score, gain=(gain, *between(gain, gains - centre)))
    return found


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def verdict(
    metric: str, score: Score, rows: int, promise: float | None, seen: bool | None, limits: Performance
) -> tuple[bool | None, str]:
    """Has the score decayed, and why; None where nothing can be said.

    It has where the drop is larger than is borne and the interval leaves out the promised score.
    """
    lost = metrics.drop(metric, score.value, promise)
    if seen or seen is None:
        known = "The version has seen" if seen else "It is not known whether the version has seen"
        return None, f"No verdict: {known[0].lower()}{known[1:]} this batch."
    if rows < limits.min_rows:
        return None, f"No verdict: {rows:,} rows with a known outcome are fewer than {limits.min_rows:,}."
    if score.value is None or score.low is None or score.high is None:
        return None, f"No verdict: {metric} is not defined on these rows."
    if promise is None or lost is None:
        return None, f"No verdict: evaluation_report has no {metric} of the version on its test rows."
    greater = metrics.greater_is_better(metric)
    excluded = score.high < promise if greater else score.low > promise
    said = f"{metric} {score.value:.4g} [{score.low:.4g}, {score.high:.4g}] on {rows:,} rows; promised {promise:.4g}"
    much = f"{lost:.1%}" if metric in metrics.AS_SHARE else f"{lost:.4g}"
    most = f"{limits.max_drop:.1%}" if metric in metrics.AS_SHARE else f"{limits.max_drop:.4g}"
    if lost <= limits.max_drop:
        return False, f"Holds: {said}. " + (f"Worse by {much}, at most {most} is borne." if lost > 0 else "Not worse.")
    if not excluded:
        return False, f"Holds: {said}. Worse by {much}, but the interval holds the promised score."
    return True, f"Decayed: {said}. Worse by {much}, more than {most}."
