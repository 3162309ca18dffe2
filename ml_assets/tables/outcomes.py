"""Outcomes that came later than their rows. They are joined when rows are read; the rows of a batch stay as they came.

A row of the table is a row of an outcome file: the key's columns, the outcome columns, and those that are always there.
Of several rows of a key, the newest value counts, column by column; a missing value says nothing. A row without a batch
is about that key in every batch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier, identifiers, table
from ml_assets.spec import PipelineSpec
from ml_assets.tables.data import VALIDATED_DATA, of_files_sql, with_online_sql
from ml_assets.tables.performance import PERFORMANCE
from ml_assets.tables.predictions import PREDICTIONS
from ml_assets.tables.table import Column, Table

OUTCOMES = Table(
    "outcomes",
    "A row of a file of outcomes.",
    (
        Column("batch", "VARCHAR", "The batch that it is about; NULL: the key's row in every batch."),
        Column("received_at", "TIMESTAMP", "When it was received, UTC; of several rows of a key the newest counts."),
        Column("source_file", "VARCHAR", "The file that it came in."),
        Column("source_sha256", "VARCHAR", "SHA-256 of that file's bytes."),
    ),
    written_by="asset outcomes",
    further="the columns of `key`, and the outcome columns that the file has",
)
# `key`: columns by which rows are found; `columns`: outcome columns that are filled in.
Late = Mapping[str, Sequence[str]]


def late(lake: Lake, spec: PipelineSpec) -> dict[str, list[str]] | None:
    """What `known_sql` joins now; None where the YAML names no outcomes, or none has come yet."""
    name = OUTCOMES.of(spec.name)
    if spec.outcomes is None or not lake.exists(name):
        return None
    both = _columns(lake, name) & _columns(lake, VALIDATED_DATA.of(spec.name))
    columns = [column for column in spec.outcome_columns if column.lower() in both]
    if not columns or not {column.lower() for column in spec.key} <= both:
        return None
    return {"key": list(spec.key), "columns": columns}


def _columns(lake: Lake, name: str) -> set[str]:
    return {column.lower() for column in lake.columns(table(name))} if lake.exists(name) else set()


def known_sql(
    pipeline: str,
    late: Late | None,
    snapshot: int | None = None,
    online: Sequence[str] | None = None,
    rows: str | None = None,
) -> str:
    """The validated rows with their outcomes as far as they are known, as SQL that can follow FROM.

    Args:
        pipeline: Schema in the lake.
        late: From `late`; None reads the rows as they came.
        snapshot: As it was known at this snapshot.
        online: Columns by which rows of logged requests are told from those of files; None leaves them out.
        rows: These rows of validated_data instead, as SQL that can follow FROM.
    """
    validated = rows or of_files_sql(pipeline, snapshot)
    if online is not None:
        validated = with_online_sql(pipeline, online, snapshot)
    if late is None:
        return validated
    key = identifiers(list(late["key"]))
    newest, filled = [], []
    for column in late["columns"]:
        name, when = identifier(column), identifier(f"{column} received_at")
        there = f"FILTER ({name} IS NOT NULL)"
        newest.append(f"max_by({name}, received_at) {there} AS {name}, max(received_at) {there} AS {when}")
        of_both = f"CASE WHEN o.{when} > e.{when} OR e.{when} IS NULL THEN o.{name} ELSE e.{name} END"
        filled.append(f"coalesce({of_both}, v.{name}) AS {name}")
    return f"""(
        WITH newest AS (
            SELECT batch, {key}, {", ".join(newest)}
            FROM {OUTCOMES.sql(pipeline, snapshot)} GROUP BY batch, {key})
        SELECT v.* REPLACE ({", ".join(filled)}) FROM (FROM {validated}) v
        LEFT JOIN newest o ON o.batch = v.batch AND {_same_key("o", late["key"])}
        LEFT JOIN newest e ON e.batch IS NULL AND {_same_key("e", late["key"])})"""


def _same_key(other: str, key: Sequence[str]) -> str:
    return " AND ".join(f"{other}.{identifier(name)} = v.{identifier(name)}" for name in key)


def newest(lake: Lake, pipeline: str) -> dt.datetime | None:
    """When the newest outcome was received; None where there is none."""
    rows = OUTCOMES.query(lake, pipeline, "SELECT max(received_at) AS newest FROM {t}")
    return rows[0]["newest"] if rows else None


def unmatched(lake: Lake, pipeline: str, late: Late | None) -> int:
    """Keys with an outcome that no validated row has, so far."""
    if late is None:
        return 0
    validated, same = VALIDATED_DATA.sql(pipeline), _same_key("o", late["key"])
    # Equalities only: with any other condition DuckDB compares each key with each row.
    ((count,),) = lake.con.execute(
        f"""
        WITH keys AS (SELECT DISTINCT batch, {identifiers(list(late["key"]))} FROM {OUTCOMES.sql(pipeline)})
        SELECT (SELECT count(*) FROM (FROM keys WHERE batch IS NOT NULL) o
                ANTI JOIN {validated} v ON o.batch = v.batch AND {same})
            + (SELECT count(*) FROM (FROM keys WHERE batch IS NULL) o ANTI JOIN {validated} v ON {same})"""
    ).fetchall()
    return int(count)


def to_measure(lake: Lake, pipeline: str, late: Late | None, after: dt.datetime | None = None) -> list[str]:
    """Batches with predictions whose rows have an outcome that their performance report did not know, in order.

    Args:
        lake: The lake.
        pipeline: Schema in the lake.
        late: From `late`.
        after: Only outcomes that were received later count.
    """
    predicted = PREDICTIONS.of(pipeline)
    if late is None or not lake.exists(predicted):
        return []
    report = PERFORMANCE.relation(lake, pipeline)
    known = f"SELECT batch, max(outcomes_until) AS until FROM {report} GROUP BY batch"
    if report is None:
        known = "SELECT NULL::VARCHAR AS batch, NULL::TIMESTAMP AS until"
    rows = lake.con.execute(
        f"""
        SELECT DISTINCT v.batch FROM {of_files_sql(pipeline)} v
        JOIN {OUTCOMES.sql(pipeline)} o
            ON {_same_key("o", late["key"])} AND coalesce(o.batch, v.batch) = v.batch
        LEFT JOIN ({known}) r ON r.batch = v.batch
        WHERE v.batch IN (SELECT unnest($batches::VARCHAR[]))
            AND o.received_at > coalesce($after, '-infinity'::TIMESTAMP)
            AND o.received_at > coalesce(r.until, '-infinity'::TIMESTAMP)
        ORDER BY 1
        """,
        {"batches": lake.batches(predicted), "after": after},
    ).fetchall()
    return [batch for (batch,) in rows]
