"""Training-serving skew: what servers were asked and answered, against the same rows once they came in a batch.

A logged row is found by the pipeline's key. Then its columns, features, and the score by the same version should be
those of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier
from ml_assets.ml.feature_types import feature_type
from ml_assets.spec import PipelineSpec
from ml_assets.tables import prediction_log as log
from ml_assets.tables.data import FEATURES, VALIDATED_DATA
from ml_assets.tables.prediction_log import PREDICTION_LOG
from ml_assets.tables.predictions import PREDICTIONS

TOLERANCE = 1e-9  # of a number, or of its share where it is greater than 1
SCORE, ASKED = "score", "request "


@dataclass(frozen=True)
class Difference:
    """A column in which logged rows and the batch differ.

    Args:
        column: A feature, `score`, or `request NAME` for a column of the row itself.
        rows: Logged rows that differ in it.
        largest: Largest difference of numbers; None of what is no number, or missing on one side.
    """

    column: str
    rows: int
    largest: float | None


@dataclass(frozen=True)
class Pair:
    """A column on both sides, as SQL; numbers are finite or NULL."""

    column: str
    logged: str
    batch: str
    is_number: bool

    @property
    def differs(self) -> str:
        """Is a row different?"""
        if not self.is_number:
            return f"{self.logged} IS DISTINCT FROM {self.batch}"
        most = f"{TOLERANCE} * greatest(1, abs({self.batch}))"
        return f"coalesce({self.distance} > {most}, ({self.logged} IS NULL) != ({self.batch} IS NULL))"

    @property
    def distance(self) -> str:
        """How far the numbers of a row are apart."""
        return f"abs({self.logged} - {self.batch})" if self.is_number else "NULL::DOUBLE"


def compare(lake: Lake, spec: PipelineSpec, batch: str) -> tuple[int, list[Difference]]:
    """How many logged rows are in a batch, and in which columns they differ from it, most rows first."""
    logged = PREDICTION_LOG.relation(lake, spec.name)
    words = {column.name: column.type for column in spec.columns if not column.outcome}
    key = {name: words[name] for name in spec.key if name in words}
    if logged is None or not key:
        return 0, []
    keys = _keys(lake, logged, key)
    same = " AND ".join(f"{_asked('k.named', name, word)} = v.{identifier(name)}" for name, word in key.items())
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE asked_before AS
        SELECT v.row_id, l.model_version, l.request, l.features, l.score,
            json_keys(l.request) AS asked, json_keys(l.features) AS computed
        FROM {keys} k JOIN {VALIDATED_DATA.sql(spec.name)} v ON v.batch = $batch AND {same}
        JOIN {logged} l USING (segment, line, row_number)""",
        {"batch": batch},
    )
    alike = lake.rows("SELECT model_version, asked, computed, count(*) AS rows FROM asked_before GROUP BY ALL")
    found: dict[str, Difference] = {}
    for group in alike:
        for one in _differences(lake, spec, batch, group, words):
            before = found.get(one.column, Difference(one.column, 0, None))
            largest = max((x for x in (before.largest, one.largest) if x is not None), default=None)
            found[one.column] = Difference(one.column, before.rows + one.rows, largest)
    return sum(group["rows"] for group in alike), sorted(found.values(), key=lambda one: (-one.rows, one.column))


def _keys(lake: Lake, logged: str, key: Mapping[str, str]) -> str:
    """Place and key of each logged row, as a temporary table: the JSON is parsed once for all batches of a run."""
    keys = f"logged_keys_{lake.fetch(f'SELECT count(*) FROM {logged}')[0][0]}"
    lake.con.execute(
        f"""CREATE TEMP TABLE IF NOT EXISTS {keys} AS
        SELECT segment, line, row_number, {log.from_json("request", key)} AS named FROM {logged}"""
    )
    return keys


def _differences(
    lake: Lake, spec: PipelineSpec, batch: str, group: Mapping[str, Any], words: Mapping[str, str]
) -> list[Difference]:
    """Differences of the rows that a version was asked with the same columns and answered with the same features."""
    types = lake.columns(FEATURES.sql(spec.name))
    kinds = {name: feature_type(types[name]) for name in group["computed"] if name in types}
    features = {name: "number" if kind == "number" else "string" for name, kind in kinds.items()}
    asked = {name: words[name] for name in group["asked"] if name in words}
    pairs = [Pair(SCORE, "l.score", "coalesce(p.score, l.score)", True)]
    pairs += [_of_feature(name, word) for name, word in features.items()]
    pairs += [_of_request(name, word) for name, word in asked.items()]
    counted = [f"count(*) FILTER ({pair.differs}), max({pair.distance})" for pair in pairs]
    parsed = f"{log.from_json('features', features)} AS computed, {log.from_json('request', asked)} AS asked"
    (numbers,) = lake.con.execute(
        f"""SELECT {", ".join(counted)} FROM (
            SELECT row_id, score, {parsed} FROM asked_before
            WHERE model_version = $version AND asked = $asked AND computed = $computed) l
        JOIN {VALIDATED_DATA.sql(spec.name)} v ON v.batch = $batch AND v.row_id = l.row_id
        JOIN {FEATURES.sql(spec.name)} f ON f.batch = $batch AND f.row_id = l.row_id
        LEFT JOIN {PREDICTIONS.sql(spec.name)} p
            ON p.batch = $batch AND p.row_id = l.row_id AND p.model_version = $version""",
        {
            "batch": batch,
            "version": group["model_version"],
            "asked": group["asked"],
            "computed": group["computed"],
        },
    ).fetchall()
    counts = zip(pairs, numbers[::2], numbers[1::2], strict=True)
    return [Difference(pair.column, rows, largest) for pair, rows, largest in counts if rows]


def _of_feature(name: str, word: str) -> Pair:
    logged, batch = f"l.computed.{identifier(name)}", f"f.{identifier(name)}"
    if word != "number":
        return Pair(name, logged, batch, False)
    return Pair(name, _finite(logged), _finite(batch), True)


def _of_request(name: str, word: str) -> Pair:
    logged, batch = _asked("l.asked", name, word), f"v.{identifier(name)}"
    if word != "number":
        return Pair(ASKED + name, logged, batch, False)
    return Pair(ASKED + name, _finite(logged), _finite(batch), True)


def _asked(struct: str, name: str, word: str) -> str:
    """A column of a logged row as batches have it; a request's timestamps may have a zone."""
    value = f"{struct}.{identifier(name)}"
    return f"{value}::TIMESTAMP" if word == "timestamp" else value


def _finite(value: str) -> str:
    """JSON has no NaN and no infinity: the log has null instead."""
    return f"(CASE WHEN isfinite({value}::DOUBLE) THEN {value}::DOUBLE END)"
