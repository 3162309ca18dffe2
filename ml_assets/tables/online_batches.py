"""Batches of logged requests whose outcomes came back: real-time use as training data.

`2013-12 online 2026-11-20` has rows that were asked up to that day, UTC, and sorts right behind the newest batch of
files of its time. A row is in one such batch at most, and a key counts once: a file that brings it takes its place.
Rows are read from the log; their features are those that the server computed.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection
from dataclasses import dataclass

from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier, identifiers, literal
from ml_assets.spec import PipelineSpec
from ml_assets.tables import prediction_log as log
from ml_assets.tables.data import ONLINE_LIKE, RAW_DATA, VALIDATED_DATA, is_online_batch, validated_batches
from ml_assets.tables.prediction_log import FEEDBACK, PREDICTION_LOG

ANSWERED, ROWS = "online_answered", "online_rows"
ANSWER = "role IN ('champion', 'challenger')"  # requests to a version by its number are trials
NAME = "concat(request_id, '/', row_number)"  # of an answered row: its `source_file`


def key(lake: Lake, spec: PipelineSpec) -> list[str] | None:
    """What `known_sql` tells rows of such batches by; None where there are none, or the YAML wants none."""
    there = any(map(is_online_batch, lake.batches(VALIDATED_DATA.of(spec.name))))
    return spec.online_key if there and spec.online_key else None


@dataclass(frozen=True)
class Pending:
    """Rows with an outcome that are in no batch yet.

    Args:
        batch: The batch that they would become.
        rows: Number of rows.
    """

    batch: str
    rows: int


def pending(lake: Lake, spec: PipelineSpec, today: dt.date) -> Pending | None:
    """What was asked before today, UTC, and is in no batch yet.

    None before the first batch of files, and where there is a batch up to today: a day has one at most.
    """
    files, until = validated_batches(lake, spec.name), str(today - dt.timedelta(days=1))
    known = filter(is_online_batch, lake.batches(RAW_DATA.of(spec.name)))
    if not files or any(name[-len(until) :] >= until for name in known):
        return None
    batch = f"{files[-1]} online {until}"
    return Pending(batch, open_rows(lake, spec, batch))


def open_rows(lake: Lake, spec: PipelineSpec, batch: str) -> int:
    """The rows of such a batch as the temporary table `online_rows`, with the columns of raw_data; returns how many.

    They were answered by champion or challenger, their target is known, and no other batch has their key. Of several
    with one key the newest counts. Rows that the batch has and the log no longer has stay as they are.
    """
    _open_answered(lake, spec, batch)
    columns, key = identifiers([column.name for column in spec.columns]), identifiers(spec.online_key)
    observed = log.observed_sql(spec, ANSWERED, FEEDBACK.relation(lake, spec.name))
    found = f"""SELECT {NAME} AS source_file, NULL::VARCHAR AS source_sha256, received_at, row_id AS number, {columns}
        FROM (SELECT * FROM {observed} WHERE ({spec.target.sql}\n) IS NOT NULL) JOIN {ANSWERED} USING (row_id)"""
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE {ROWS} AS
        SELECT $batch AS batch, row_number() OVER (ORDER BY received_at NULLS FIRST, number) AS row_id,
            source_file, source_sha256, {columns}, CAST([] AS VARCHAR[]) AS unreadable
        FROM ({found} {_staying(lake, spec)}) r WHERE {_in_no_other_batch(lake, spec)}
        QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY received_at DESC NULLS LAST, source_file) = 1""",
        {"batch": batch},
    )
    return int(lake.fetch(f"SELECT count(*) FROM {ROWS}")[0][0])


def _open_answered(lake: Lake, spec: PipelineSpec, batch: str) -> None:
    """Rows that were answered until its day and are in no other batch, each once: a client may repeat a request."""
    logged, raw = PREDICTION_LOG.relation(lake, spec.name) or lake.values(PREDICTION_LOG.types, []), RAW_DATA
    taken = (
        f"""AND {NAME} NOT IN (SELECT source_file FROM {raw.sql(spec.name)}
        WHERE batch != $batch AND batch LIKE {ONLINE_LIKE})"""
        if lake.exists(raw.of(spec.name))
        else ""
    )
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE {ANSWERED} AS
        SELECT row_number() OVER (ORDER BY request_id, row_number) AS row_id, request_id, row_number,
            min(received_at) AS received_at, arg_max(request, received_at) AS request
        FROM {logged} WHERE hour[:10] <= $until AND {ANSWER} {taken} GROUP BY request_id, row_number""",
        {"until": batch[-len("2026-11-20") :]} | ({"batch": batch} if taken else {}),
    )


def _staying(lake: Lake, spec: PipelineSpec) -> str:
    """SQL: and the batch's rows whose request the log no longer keeps."""
    if not lake.exists(RAW_DATA.of(spec.name)):
        return ""
    stored = lake.columns(RAW_DATA.sql(spec.name))
    columns = identifiers([column.name for column in spec.columns if column.name in stored])
    return f"""UNION ALL BY NAME SELECT source_file, source_sha256, row_id AS number, {columns}
        FROM {RAW_DATA.sql(spec.name)} WHERE batch = $batch AND source_file NOT IN (SELECT {NAME} FROM {ANSWERED})"""


def _in_no_other_batch(lake: Lake, spec: PipelineSpec) -> str:
    """SQL: no other batch has the key of a row `r`; what is in quarantine counts where it came from the log."""
    same = " AND ".join(f"t.{name} = r.{name}" for name in map(identifier, spec.online_key))
    places = {VALIDATED_DATA: "true", RAW_DATA: f"t.batch LIKE {ONLINE_LIKE}"}
    return " AND ".join(
        ["true"]
        + [
            f"NOT EXISTS (FROM {table.sql(spec.name)} t WHERE t.batch != $batch AND {where} AND {same})"
            for table, where in places.items()
            if lake.exists(table.of(spec.name))
        ]
    )


def versions_of(lake: Lake, pipeline: str, batch: str) -> list[str]:
    """The versions that answered the rows of a batch, as far as the log still says."""
    logged = PREDICTION_LOG.relation(lake, pipeline)
    if logged is None:
        return []
    rows = lake.rows(
        f"""SELECT DISTINCT model_version AS version FROM {logged} WHERE {ANSWER} AND {NAME} IN
            (SELECT source_file FROM {VALIDATED_DATA.sql(pipeline)} WHERE batch = $batch) ORDER BY 1""",
        {"batch": batch},
    )
    return [row["version"] for row in rows]


def take_served(lake: Lake, pipeline: str, batch: str, into: str, versions: Collection[str]) -> int:
    """Give the rows of a batch the features that the server computed for them; returns how many have them.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        batch: A batch of logged requests.
        into: Temporary table with the batch's features, as they are computed now.
        versions: Versions whose features are computed as today's; other rows keep what is there.
    """
    logged = PREDICTION_LOG.relation(lake, pipeline)
    types = {name: type_ for name, type_ in lake.columns(into).items() if name not in ("batch", "row_id")}
    if logged is None or not versions:
        return 0
    kinds = json.dumps({name: "VARCHAR" if type_ == "VARCHAR" else "DOUBLE" for name, type_ in types.items()})
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE online_served AS
        SELECT v.row_id, arg_max(from_json(l.features, {literal(kinds)}), l.received_at) AS served
        FROM {logged} l JOIN {VALIDATED_DATA.sql(pipeline)} v ON v.batch = $batch AND v.source_file = {NAME}
        WHERE {ANSWER} AND list_contains($versions, model_version) GROUP BY v.row_id""",
        {"batch": batch, "versions": sorted(versions)},
    )
    values = ", ".join(f"{identifier(name)} = {_served(name, type_)}" for name, type_ in types.items())
    (count,) = lake.fetch(f"UPDATE {into} f SET {values} FROM online_served s WHERE s.row_id = f.row_id")[0]
    return int(count)


def _served(name: str, type_: str) -> str:
    """A feature as it was logged; JSON has no NaN and no infinity, so that these are as computed now."""
    logged = f"CAST(s.served.{identifier(name)} AS {type_})"
    computed = f"f.{identifier(name)}"
    if type_ not in ("FLOAT", "DOUBLE"):
        return logged
    return f"coalesce({logged}, CASE WHEN NOT isfinite({computed}) THEN {computed} END)"
