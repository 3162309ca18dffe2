"""What two versions lost on rows whose outcome is known: in batches, in shadow, and where keys were divided.

Losses are computed and summed up by DuckDB, so an experiment of any size takes a few numbers of memory. Rows of the
prediction log that have one key count as one, with their mean loss: the key was divided, not the row, and what the same
customer does twice is no second observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier
from ml_assets.ml import routing, sequential
from ml_assets.ml.sequential import Effect, Sample
from ml_assets.spec import PipelineSpec
from ml_assets.tables import outcomes, predictions
from ml_assets.tables.prediction_log import FEEDBACK, PREDICTION_LOG, observed_sql
from ml_assets.tables.predictions import PREDICTIONS

Source = Literal["batches", "shadow", "routes"]
EPSILON = 2.220446049250313e-16  # a probability of 0 counts as this much, as in metrics.log_loss
# Sums of the columns a and b: losses of the first and the second version on the same row.
PAIRED = "count(*) AS rows, avg(a) AS first, avg(b) AS second, avg(a - b) AS mean, var_pop(a - b) AS variance"


@dataclass(frozen=True)
class ComparedVersions:
    """What a source says of two versions.

    Args:
        source: batches: both predicted each row of batches. shadow: both predicted each logged row. routes: each
            logged row was predicted by the one that its key was given to.
        rows: Rows of the first and of the second version; the same ones where they are paired.
        losses: Mean loss of the first and of the second.
        effect: How much less the second loses; None where there is nothing to compare.
        left_out: Rows of batches that were left out, because a version has seen the batch in its training.
    """

    source: Source
    rows: tuple[int, int] = (0, 0)
    losses: tuple[float, float] | None = None
    effect: Effect | None = None
    left_out: int = 0


def loss_name(spec: PipelineSpec) -> str:
    """What is lost on a row."""
    if spec.costs:
        return f"cost (false positive {spec.costs.false_positive:g}, false negative {spec.costs.false_negative:g})"
    return {"binary": "log loss", "multiclass": "error (1 for a wrong class)", "regression": "absolute error"}[
        spec.target.kind
    ]


def loss_sql(spec: PipelineSpec) -> str:
    """The loss of a row from its label, score and decision."""
    if spec.costs:
        positive, negative = float(spec.costs.false_positive), float(spec.costs.false_negative)
        return f"""CASE WHEN decision::TINYINT = label THEN 0.0 WHEN label = 0 THEN {positive!r}::DOUBLE
            ELSE {negative!r}::DOUBLE END"""
    if spec.target.kind == "binary":
        given = "CASE WHEN label = 1 THEN score ELSE 1 - score END"
        return f"-ln(least(greatest({given}, {EPSILON!r}), 1 - {EPSILON!r}))"
    return "(decision != label)::INT::DOUBLE" if spec.target.kind == "multiclass" else "abs(score - label)"


def evidence(lake: Lake, spec: PipelineSpec, first: str, second: str) -> list[ComparedVersions]:
    """What each source says, the strongest first: paired rows of batches, then shadow, then divided keys."""
    return [in_batches(lake, spec, first, second), *in_log(lake, spec, first, second)]


def in_batches(lake: Lake, spec: PipelineSpec, first: str, second: str) -> ComparedVersions:
    """Rows of batches that both versions predicted, without the batches that one of them was trained on."""
    relation = PREDICTIONS.relation(lake, spec.name)
    if relation is None:
        return ComparedVersions("batches")
    known = outcomes.known_sql(spec.name, outcomes.late(lake, spec))
    labels = _labels(lake, spec, f"SELECT batch, row_id, ({spec.target.sql}\n) AS label FROM {known}", "batch, row_id")
    (found,) = lake.rows(
        f"""
        WITH scored AS (
            SELECT p.batch, p.row_id, p.model_version, coalesce(p.seen, true) AS seen, {loss_sql(spec)} AS loss
            FROM {relation} p JOIN {labels} l USING (batch, row_id)
            WHERE p.model_version IN ($first, $second)),
        pairs AS (
            SELECT max(loss) FILTER (model_version = $first) AS a, max(loss) FILTER (model_version = $second) AS b,
                bool_or(seen) AS seen
            FROM scored GROUP BY batch, row_id HAVING a IS NOT NULL AND b IS NOT NULL)
        SELECT (SELECT count(*) FROM pairs WHERE seen) AS left_out, {PAIRED} FROM pairs WHERE NOT seen""",
        {"first": first, "second": second},
    )
    return _paired("batches", found, found["left_out"])


def in_log(lake: Lake, spec: PipelineSpec, first: str, second: str) -> list[ComparedVersions]:
    """Logged rows: those that both versions predicted, and those that were divided between them."""
    log = PREDICTION_LOG.relation(lake, spec.name)
    if log is None:
        return [ComparedVersions("shadow"), ComparedVersions("routes")]
    _open_log(lake, spec, log, first, second)
    numbers = {"first": first, "second": second}
    (shadow,) = lake.rows(
        f"""
        WITH pairs AS (
            SELECT unit, max(loss) FILTER (model_version = $first) AS a, max(loss) FILTER (model_version = $second) AS b
            FROM experiment_losses GROUP BY unit, row_id HAVING a IS NOT NULL AND b IS NOT NULL)
        SELECT {PAIRED} FROM (SELECT avg(a) AS a, avg(b) AS b FROM pairs GROUP BY unit)""",
        numbers,
    )
    routed = lake.rows(
        """
        WITH units AS (
            SELECT model_version, unit, avg(loss) AS loss FROM experiment_losses
            WHERE role != 'shadow' AND hour IN (
                SELECT hour FROM experiment_log WHERE role != 'shadow'
                GROUP BY hour HAVING count(DISTINCT model_version) = 2)
            GROUP BY ALL)
        SELECT model_version, count(*) AS rows, avg(loss) AS mean, var_pop(loss) AS variance
        FROM units GROUP BY model_version ORDER BY model_version != $first""",
        {"first": first},
    )
    if len(routed) < 2:
        return [_paired("shadow", shadow), ComparedVersions("routes")]
    one, other = (Sample(row["rows"], row["mean"], row["variance"]) for row in routed)
    divided = ComparedVersions(
        "routes", (one.rows, other.rows), (one.mean, other.mean), sequential.two_sample(one, other)
    )
    return [_paired("shadow", shadow), divided]


def _open_log(lake: Lake, spec: PipelineSpec, log: str, first: str, second: str) -> None:
    """Fill the temporary table `experiment_losses`: a row for each logged row with a known outcome and version."""
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE experiment_log AS
        SELECT dense_rank() OVER (ORDER BY request_id, row_number) AS row_id, * FROM {log}
        WHERE model_version IN ($first, $second)""",
        {"first": first, "second": second},
    )
    asked = "(SELECT DISTINCT ON (row_id) * FROM experiment_log ORDER BY row_id, received_at)"
    known = observed_sql(spec, asked, FEEDBACK.relation(lake, spec.name))
    sql = f"SELECT row_id, {_unit(spec)} AS unit, ({spec.target.sql}\n) AS label FROM {known}"
    labels = _labels(lake, spec, sql, "row_id, unit")
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE experiment_losses AS
        SELECT hour, row_id, model_version, role, {loss_sql(spec)} AS loss,
            coalesce(p.key, l.unit, p.request_id || ' ' || p.row_number) AS unit
        FROM (SELECT DISTINCT ON (row_id, model_version) * FROM experiment_log ORDER BY row_id, model_version, role) p
        JOIN {labels} l USING (row_id)"""
    )


def _unit(spec: PipelineSpec) -> str:
    """What a row was routed by, unless the request named a key: NULL where the log does not have it."""
    left_out = spec.serving.log.leave_out if spec.serving.log else []
    key = routing.key_columns(spec.key, [column.name for column in spec.columns if not column.outcome])
    if not key or set(key) & set(left_out):
        return "NULL::VARCHAR"
    return f"concat_ws(chr(31), {', '.join(f'''coalesce({identifier(name)}::VARCHAR, '')''' for name in key)})"


def _labels(lake: Lake, spec: PipelineSpec, sql: str, others: str) -> str:
    """A query with the column `label`, as SQL that can follow FROM: the rows whose label is known."""
    label = predictions.label_sql(spec.target.kind, lake.columns(f"({sql})")["label"])
    return f"(SELECT {others}, {label} AS label FROM ({sql}) WHERE label IS NOT NULL)"


def _paired(source: Source, found: dict[str, float], left_out: int = 0) -> ComparedVersions:
    rows = int(found["rows"])
    if not rows:
        return ComparedVersions(source, left_out=left_out)
    effect = sequential.paired(Sample(rows, found["mean"], found["variance"]))
    return ComparedVersions(source, (rows, rows), (found["first"], found["second"]), effect, left_out)
