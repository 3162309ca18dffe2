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

from ml_assets import metrics
from ml_assets.errors import BatchRefused, ModelError
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import table
from ml_assets.metrics import weighted
from ml_assets.ml import bundle
from ml_assets.spec import Performance, PipelineSpec
from ml_assets.spec.base import AS_SHARE
from ml_assets.tables import outcomes, releases, versions
from ml_assets.tables.versions import now

Array = np.ndarray[Any, Any]

SAMPLE = 50_000
COLUMNS = {
    "batch": "VARCHAR",
    "model_version": "VARCHAR",
    "role": "VARCHAR",
    "metric": "VARCHAR",
    "value": "DOUBLE",
    "low": "DOUBLE",
    "high": "DOUBLE",
    "rows": "BIGINT",
    "promised": "DOUBLE",
    "drop": "DOUBLE",
    "gain": "DOUBLE",
    "gain_low": "DOUBLE",
    "gain_high": "DOUBLE",
    "judged": "BOOLEAN",
    "decayed": "BOOLEAN",
    "seen": "BOOLEAN",
    "why": "VARCHAR",
    "measured_at": "TIMESTAMP",
    "outcomes_until": "TIMESTAMP",
}
DESCRIPTIONS = {
    "value": "NULL where it is not defined on these rows, such as roc_auc over one class.",
    "low": "Lower end of the 95% bootstrap interval.",
    "high": "Upper end.",
    "rows": "Rows with a known outcome that every version of the batch has scored.",
    "promised": "The version's score on its test rows.",
    "drop": f"How much worse than the test score; as a share for {AS_SHARE}.",
    "gain": "How much better than the champion on the same rows, with a paired 95% interval.",
    "judged": "The champion's monitoring.performance.metric: the row that carries the verdict.",
    "decayed": "The verdict; NULL where there is none, and `why` says why.",
    "seen": "The version was trained, tuned or judged on this batch.",
    "outcomes_until": "When the newest late outcome was received that was known.",
}


@dataclass(frozen=True)
class Version:
    """A version that scored a batch."""

    number: str
    role: str
    seen: bool | None


@dataclass(frozen=True)
class StoredPredictions:
    """Predictions of a version as the lake holds them, beside the labels that are known by now.

    Args:
        kind: Kind of the target.
        labels: 0/1 (binary), a code of the class (multiclass), the value (regression); shape (n,).
        scores: Probability of 1 (binary), the value (regression).
        decisions: As the labels.
        label_probability: Probability of the label's class (multiclass); None where it is not known.
    """

    kind: str
    labels: Array
    scores: Array
    decisions: Array
    label_probability: Array | None = None

    @property
    def outcome_probability(self) -> Array | None:
        return (
            metrics.outcome_probability(self.labels, self.scores) if self.kind == "binary" else self.label_probability
        )

    def at(self, rows: Array) -> StoredPredictions:
        """The same of some of the rows."""
        known = None if self.label_probability is None else self.label_probability[rows]
        return StoredPredictions(self.kind, self.labels[rows], self.scores[rows], self.decisions[rows], known)


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
    versions = scored_by(lake, spec.name, batch)
    rows = open_rows(lake, spec, batch, len(versions))
    if not rows:
        return []
    found = measure(lake, paths, spec, batch, versions, rows)
    promises = promised(lake, spec.name, [version.number for version in versions])
    when = {"measured_at": measured_at, "outcomes_until": until}
    lines = []
    for version in versions:
        for metric in metrics.names(spec.target.kind):
            place = version.number, metric
            line = as_row(spec, version, metric, found[place], rows, promises.get(place))
            lines.append({"batch": batch, **line, **when})
    return lines


def as_row(
    spec: PipelineSpec, version: Version, metric: str, score: Score, rows: int, promise: float | None
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
        "promised": promise,
        "drop": metrics.METRICS[metric].drop(score.value, promise),
        "gain": gain,
        "gain_low": gain_low,
        "gain_high": gain_high,
        "judged": judged,
        "decayed": decayed,
        "seen": version.seen,
        "why": why,
    }


def scored_by(lake: Lake, pipeline: str, batch: str) -> list[Version]:
    """The versions that scored a batch, the champion first. What an earlier ml_assets wrote is the champion's.

    Raises:
        BatchRefused: There is none.
    """
    name = f"{pipeline}.predictions"
    there = lake.columns(table(name)) if lake.exists(name) else {}
    role = "coalesce(role, 'champion')" if "role" in there else "'champion'"
    seen = "bool_or(seen)" if "seen" in there else "NULL::BOOLEAN"
    found = lake.rows_of(
        name,
        f"""SELECT * FROM (SELECT model_version AS number, {role} AS role, {seen} AS seen FROM {{t}} WHERE batch = ?
        GROUP BY ALL) ORDER BY role != 'champion', number""",
        [batch],
    )
    if not found:
        raise BatchRefused("predictions has no rows of the batch.", fix=f"Materialize {pipeline}/predictions for it.")
    return [Version(**row) for row in found]


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
            SELECT row_id FROM {table(f"{spec.name}.predictions")} WHERE batch = $batch
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
    lake: Lake, paths: Paths, spec: PipelineSpec, batch: str, versions: Sequence[Version], rows: int
) -> dict[tuple[str, str], Score]:
    """(version, metric) -> its score over the rows of `measured`. One version's predictions are in memory at a time."""
    kind, values, samples, size = spec.target.kind, {}, {}, 0
    for version in versions:
        predictions, sampled = stored_predictions(lake, paths, spec, batch, version)
        for metric in metrics.of_kind(kind):
            known = metric.is_known(predictions)
            values[version.number, metric.name] = metric.weigh(predictions)(np.ones(rows)) if known else math.nan
        samples[version.number] = predictions.at(sampled)
        size = len(sampled)
    return with_intervals(values, samples, kind, size, rows, spec.tuning.seed)


def stored_predictions(
    lake: Lake, paths: Paths, spec: PipelineSpec, batch: str, version: Version
) -> tuple[StoredPredictions, Array]:
    """A version's predictions of the rows of `measured`, ordered by row_id, and positions of those in the sample."""
    name, kind = table(f"{spec.name}.predictions"), spec.target.kind
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
        columns += ", coalesce(p.probabilities[list_position($classes, m.label)], 0) AS known, p.probabilities IS NULL"
    found = lake.con.execute(
        f"""SELECT m.sampled, {columns} FROM measured m
        JOIN {name} p ON p.row_id = m.row_id AND p.batch = $batch AND p.model_version = $version ORDER BY m.row_id""",
        values,
    ).to_arrow_table()
    sampled, label, score, decision, *others = (column.to_numpy() for column in found.columns)
    known = others[0] if others and not others[1].any() else None
    return StoredPredictions(kind, label, score, decision, known), np.flatnonzero(sampled)


def _classes(lake: Lake, paths: Paths, pipeline: str, version: Version) -> list[str] | None:
    """A version's classes in the order of its probabilities; None where its bundle does not tell any more."""
    try:
        served = releases.served(lake, pipeline, versions.need_version(lake, pipeline, version.number))
        return bundle.verify(paths.bundles / served.bundle, served.bundle_sha256).classes
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
        (version, metric.name): metric.weigh(predictions)
        for version, predictions in samples.items()
        for metric in metrics.of_kind(kind)
        if metric.is_known(predictions)
    }
    drawn = dict(
        zip(statistics, weighted.bootstrap(list(statistics.values()), size, seed).T, strict=True) if size else []
    )
    ones, scale, first = np.ones(size), math.sqrt(size / rows), next(iter(samples))
    centres = {place: statistics[place](ones) for place in drawn}

    def between(value: float, deviations: Array) -> tuple[float | None, float | None]:
        low, high = weighted.interval(value + scale * deviations)
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
            sign = metrics.METRICS[metric].sign
            gain = sign * (value - values[beside])
            gains = sign * (drawn[place] - drawn[beside])
            centre = sign * (centres[place] - centres[beside])
            found[place] = replace(score, gain=(gain, *between(gain, gains - centre)))
    return found


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def promised(lake: Lake, pipeline: str, versions: Sequence[str]) -> dict[tuple[str, str], float]:
    """(version, metric) -> its score on the test rows."""
    rows = lake.rows_of(
        f"{pipeline}.evaluation_report",
        """SELECT version, metric, max_by(value, evaluated_at) AS value FROM {t}
        WHERE scope = 'test' AND version IN (SELECT unnest($versions::VARCHAR[])) GROUP BY ALL""",
        {"versions": list(versions)},
    )
    return {(row["version"], row["metric"]): row["value"] for row in rows if not math.isnan(row["value"])}


def verdict(
    metric: str, score: Score, rows: int, promise: float | None, seen: bool | None, limits: Performance
) -> tuple[bool | None, str]:
    """Has the score decayed, and why; None where nothing can be said.

    It has where the drop is larger than is borne and the interval leaves out the promised score.
    """
    lost = metrics.METRICS[metric].drop(score.value, promise)
    if seen or seen is None:
        known = "The version has seen" if seen else "It is not known whether the version has seen"
        return None, f"No verdict: {known[0].lower()}{known[1:]} this batch."
    if rows < limits.min_rows:
        return None, f"No verdict: {rows:,} rows with a known outcome are fewer than {limits.min_rows:,}."
    if score.value is None or score.low is None or score.high is None:
        return None, f"No verdict: {metric} is not defined on these rows."
    if promise is None or lost is None:
        return None, f"No verdict: evaluation_report has no {metric} of the version on its test rows."
    greater = metrics.METRICS[metric].is_higher_better
    excluded = score.high < promise if greater else score.low > promise
    said = f"{metric} {score.value:.4g} [{score.low:.4g}, {score.high:.4g}] on {rows:,} rows; promised {promise:.4g}"
    much = metrics.METRICS[metric].format_drop(lost)
    most = metrics.METRICS[metric].format_drop(limits.max_drop)
    if lost <= limits.max_drop:
        return False, f"Holds: {said}. " + (f"Worse by {much}, at most {most} is borne." if lost > 0 else "Not worse.")
    if not excluded:
        return False, f"Holds: {said}. Worse by {much}, but the interval holds the promised score."
    return True, f"Decayed: {said}. Worse by {much}, more than {most}."
