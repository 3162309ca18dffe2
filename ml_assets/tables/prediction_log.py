"""What servers predicted, what was observed of it, and how far the files of their logs have been read.

Rows of a request are kept as JSON: what a version was asked, and the features that it computed, follow that version's
schema. `rows_sql` gives the rows the types of the YAML again, and `observed_sql` adds the outcomes of the feedback.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.sql import identifier, literal
from ml_assets.spec import PipelineSpec
from ml_assets.tables.table import Column, Table

HOUR = Column("hour", "VARCHAR", "The hour in which it was written, UTC, such as 2026-01-31T09.")
PLACE = (
    Column("segment", "VARCHAR", "The file of the log that it was read from."),
    Column("line", "BIGINT", "Its line there."),
)
PREDICTION_LOG = Table(
    "prediction_log",
    "A row that a server predicted, by one version.",
    (
        HOUR,
        Column("request_id", "VARCHAR", "The request's id, which is in its response, too."),
        Column("row_number", "BIGINT", "Number of the row in its request, from 0."),
        Column("received_at", "TIMESTAMP", "When the request was received, UTC."),
        Column("model_version", "VARCHAR", "The version that predicted."),
        Column("role", "VARCHAR", "champion, challenger: this prediction was returned. shadow: computed beside it."),
        Column("key", "VARCHAR", "The key that the request gave for the row."),
        Column("request", "VARCHAR", "The row as it was sent, as JSON, without the columns of serving.log.leave_out."),
        Column("features", "VARCHAR", "Its features as the server computed them, as JSON, likewise."),
        Column(
            "score", "DOUBLE", "Probability of 1 (binary), of the decision (multiclass), or the value (regression)."
        ),
        Column("decision", "VARCHAR", "The class that is predicted, or 0 or 1 by the threshold; NULL for regression."),
        Column("probabilities", "DOUBLE[]", "Of each class, in the order of the bundle's classes (multiclass)."),
        Column("latency_ms", "DOUBLE", "Milliseconds from the request's arrival to its response."),
        *PLACE,
    ),
    written_by="asset prediction_log",
)
FEEDBACK = Table(
    "feedback",
    "Outcomes that were sent back for one request, one of its rows, or a key.",
    (
        HOUR,
        Column("feedback_id", "VARCHAR", "Id of the request that brought it."),
        Column("received_at", "TIMESTAMP", "When it was received, UTC; of several for a row the newest counts."),
        Column("request_id", "VARCHAR", "The request that it is about; NULL where it names a key."),
        Column("row_number", "BIGINT", "The row of that request; NULL: all of them."),
        Column("key", "VARCHAR", "The key that it is about, as JSON: each earlier row of that key."),
        Column("outcomes", "VARCHAR", "Outcome columns and their values, as JSON."),
        *PLACE,
    ),
    written_by="asset prediction_log",
)
SEGMENTS = Table(
    "prediction_log_segments",
    "A file of a server's log, and how far it has been read.",
    (
        Column("segment", "VARCHAR", "The file, below the pipeline's folder of the log."),
        HOUR,
        Column("bytes", "BIGINT", "Bytes that have been read."),
        Column("lines", "BIGINT", "Lines that have been read."),
        Column("rows", "BIGINT", "Rows of prediction_log that they gave."),
        Column("outcomes", "BIGINT", "Rows of feedback that they gave."),
        Column("rejected", "VARCHAR[]", "Lines that cannot be read, with their number and the reason."),
        Column("read_at", "TIMESTAMP", "When it was read last, UTC."),
    ),
    written_by="asset prediction_log",
    key=("segment",),
)
# Type of a column of the YAML -> as which it is read from JSON; timestamps may have a zone.
TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMPTZ",
}


@dataclass(frozen=True)
class Segment:
    """How far a file of the log has been read; the fields are those of `SEGMENTS`."""

    segment: str
    hour: str
    bytes: int = 0
    lines: int = 0
    rows: int = 0
    outcomes: int = 0
    rejected: tuple[str, ...] = ()


def segments(lake: Lake, pipeline: str, hours: Sequence[str] | None = None) -> dict[str, Segment]:
    """Segment -> how far it has been read, of some hours or of all."""
    rows = SEGMENTS.query(
        lake,
        pipeline,
        "SELECT * EXCLUDE (read_at) FROM {t} WHERE $hours IS NULL OR list_contains($hours, hour)",
        {"hours": None if hours is None else list(hours)},
    )
    return {row["segment"]: Segment(**{**row, "rejected": tuple(row["rejected"] or ())}) for row in rows}


def counts(lake: Lake, pipeline: str, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Segment -> rows of prediction_log and of feedback that came from it."""
    found: dict[str, tuple[int, int]] = dict.fromkeys(names, (0, 0))
    hours = sorted({name.partition("/")[0] for name in names})
    for place, table in enumerate((PREDICTION_LOG, FEEDBACK)):
        sql = """SELECT segment, count(*) AS rows FROM {t}
            WHERE hour IN (SELECT unnest($hours::VARCHAR[])) AND segment IN (SELECT unnest($names::VARCHAR[]))
            GROUP BY segment"""
        for row in table.query(lake, pipeline, sql, {"hours": hours, "names": list(names)}):
            both = list(found[row["segment"]])
            both[place] = row["rows"]
            found[row["segment"]] = (both[0], both[1])
    return found


def from_json(text: str, columns: Mapping[str, str]) -> str:
    """JSON objects as a struct of these columns; a value that is no such type is NULL.

    Args:
        text: SQL of the JSON.
        columns: Column -> type word of the YAML.
    """
    types = literal(json.dumps({name: TYPES[word] for name, word in columns.items()}))
    return f"from_json(coalesce({text}, '{{}}'), {types})"


def observed_sql(spec: PipelineSpec, source: str, feedback: str | None) -> str:
    """Logged rows with the columns of the YAML and `row_id`, as SQL that can follow FROM.

    Outcomes are as far as feedback knows them. Columns that were left out are NULL.

    Args:
        spec: The pipeline.
        source: A relation with `row_id`, `request_id`, `row_number`, `received_at` and the JSON `request`.
        feedback: The table `feedback`; None where there is none yet.
    """
    asked = {column.name: column.type for column in spec.columns if not column.outcome}
    outcomes = {column.name: column.type for column in spec.columns if column.outcome}
    rows = f"(SELECT row_id, request_id, row_number, received_at, {from_json('request', asked)} AS asked FROM {source})"
    if feedback is None or not outcomes:
        nulls = [f"NULL::{TYPES[word]} AS {identifier(name)}" for name, word in outcomes.items()]
        parsed = f"SELECT {', '.join(['row_id, unnest(asked)', *nulls])} FROM {rows}"
        return f"(SELECT * {_local(asked | outcomes)} FROM ({parsed}))"
    names = [identifier(name) for name in outcomes]
    newest = ", ".join(f"max_by(said.{name}, received_at) FILTER (said.{name} IS NOT NULL) AS {name}" for name in names)
    matched, said = _matched(spec, rows, feedback), from_json("outcomes", outcomes)
    return f"""(
        SELECT * {_local(asked | outcomes)} FROM (
            SELECT r.row_id, unnest(r.asked), {", ".join(f"o.{name}" for name in names)} FROM {rows} r
            LEFT JOIN (
                SELECT row_id, {newest} FROM (SELECT row_id, received_at, {said} AS said FROM ({matched}))
                GROUP BY row_id) o ON o.row_id = r.row_id))"""


def _matched(spec: PipelineSpec, rows: str, feedback: str) -> str:
    """row_id, received_at and outcomes of the feedback on each row: by its request, or by its key once it was asked."""
    by_request = f"""SELECT r.row_id, f.received_at, f.outcomes FROM {rows} r JOIN {feedback} f
        ON f.request_id = r.request_id AND coalesce(f.row_number, r.row_number) = r.row_number"""
    if not spec.key:
        return by_request
    words = {column.name: column.type for column in spec.columns}
    named = from_json("key", {name: words[name] for name in spec.key})
    same = " AND ".join(f"f.named.{name} = r.asked.{name}" for name in map(identifier, spec.key))
    return f"""{by_request} UNION ALL SELECT r.row_id, f.received_at, f.outcomes FROM {rows} r
        JOIN (SELECT received_at, outcomes, {named} AS named FROM {feedback} WHERE key IS NOT NULL) f
            ON {same} AND f.received_at >= r.received_at"""


def _local(columns: Mapping[str, str]) -> str:
    """Timestamps as batches have them, in UTC without a zone: a REPLACE clause."""
    zoned = [identifier(name) for name, word in columns.items() if word == "timestamp"]
    return f"REPLACE ({', '.join(f'{name}::TIMESTAMP AS {name}' for name in zoned)})" if zoned else ""


def days_touched(lake: Lake, spec: PipelineSpec, hours: Sequence[str]) -> list[str]:
    """Days, UTC, of some hours, and of the predictions that feedback of these hours is about."""
    log, feedback = (table.relation(lake, spec.name) for table in (PREDICTION_LOG, FEEDBACK))
    days = {hour[:10] for hour in hours}
    if log is None or feedback is None:
        return sorted(days)
    new = f"(SELECT * FROM {feedback} WHERE hour IN (SELECT unnest($hours::VARCHAR[])))"
    sql = f"SELECT DISTINCT hour[:10] AS day FROM {log} SEMI JOIN {new} USING (request_id)"
    has_keys = lake.rows(f"SELECT count(key) AS keys FROM {new}", {"hours": list(hours)})[0]["keys"]
    if has_keys and spec.key:
        words = {column.name: column.type for column in spec.columns}
        of_request, of_key = (from_json(text, {name: words[name] for name in spec.key}) for text in ("request", "key"))
        sql += f""" UNION SELECT DISTINCT hour[:10] FROM (SELECT hour, {of_request} AS named FROM {log})
            SEMI JOIN (SELECT {of_key} AS named FROM {new} WHERE key IS NOT NULL) USING (named)"""
    return sorted(days | {row["day"] for row in lake.rows(sql, {"hours": list(hours)})})


def forget(lake: Lake, pipeline: str, keep_days: int, commit: Commit) -> str:
    """Delete what was logged before the last days; returns the first hour that stays."""
    # Whole days, because a day is measured again as a whole.
    before = f"{dt.datetime.now(dt.UTC) - dt.timedelta(days=keep_days):%Y-%m-%d}T00"
    there = [table for table in (PREDICTION_LOG, FEEDBACK, SEGMENTS) if lake.exists(table.of(pipeline))]

    def delete() -> list[tuple[object, ...]]:
        for table in there:
            lake.con.execute(f"DELETE FROM {table.sql(pipeline)} WHERE hour < ?", [before])
        return []

    if there:
        lake.maintain(delete, commit)
    return before
