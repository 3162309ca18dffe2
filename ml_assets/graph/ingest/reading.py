"""Raw batches: files become rows of raw_data, and one that cannot be read is rejected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_assets.atomic import short_hash
from ml_assets.errors import LakeBusy, LakeError, SourceError
from ml_assets.graph.ingest import files, rows, schema
from ml_assets.graph.ingest.arrivals import Superseded
from ml_assets.graph.ingest.files import Delivery
from ml_assets.lake import faults
from ml_assets.lake.lake import Commit, Lake, Written
from ml_assets.spec import OWN_COLUMNS, PipelineSpec
from ml_assets.tables import data, schema_events
from ml_assets.tables.data import RAW_DATA
from ml_assets.tables.ingest_errors import FailedIngest
from ml_assets.tables.schema_events import SchemaEvent


@dataclass(frozen=True)
class RawBatch:
    """What reading a batch left.

    Args:
        written: The write.
        events: Changes of columns.
        bad: Rejected files.
    """

    written: Written
    events: list[SchemaEvent]
    bad: list[FailedIngest]


def write_batch(
    lake: Lake, spec: PipelineSpec, batch: str, delivery: Delivery, superseded: Superseded | None, commit: Commit
) -> RawBatch:
    """Replace a batch of raw_data by the rows of its files, typed as declared.

    Of several files, one that cannot be read to its end is rejected. Its earlier rows stay, as do those of a file that
    is gone.

    Raises:
        SourceError: No file can be read.
        LakeError: The lake cannot be written.
    """
    try:
        return _write(lake, spec, batch, delivery, superseded, commit, [])
    except Exception as error:
        # DuckDB reads Parquet while it writes the lake, so an error of the write may be a file's.
        if isinstance(error, LakeBusy) or (faults.stops_all(error) and not isinstance(error, LakeError)):
            raise
        bad: list[FailedIngest] = []
        good = [part for part in delivery.parts() if not _failure(lake, spec, batch, part, len(delivery.local), bad)]
        if not bad:
            raise
        if not good:
            raise SourceError(bad[0].error) from None
    return _write(lake, spec, batch, files.joined(good), superseded, commit, bad)


def _write(
    lake: Lake,
    spec: PipelineSpec,
    batch: str,
    delivery: Delivery,
    superseded: Superseded | None,
    commit: Commit,
    bad: list[FailedIngest],
) -> RawBatch:
    relation, found = rows.open_rows(lake.con, spec, batch, delivery)
    _check_columns(lake, spec, found, delivery)
    _check_rows(lake, spec, batch, relation, delivery, is_whole=True)
    staying = _staying(lake, spec, batch, delivery, superseded, bad)
    if staying:
        relation = _with_staying(lake, spec, batch, relation, staying)
    events = schema.changes(lake, spec, batch, found)
    version = _data_version(batch, delivery, staying, commit.code_version)
    put = RAW_DATA.put(spec.name, relation, batch, data.descriptions(spec), version=version)
    try:
        written, *_ = lake.replace(
            [put, *schema_events.puts(lake, spec.name, events, commit)], commit, before_commit=delivery.check_unchanged
        )
    finally:
        lake.con.execute("DROP TABLE IF EXISTS _raw_rows; DROP TABLE IF EXISTS _raw_all")
    return RawBatch(written, events, bad)


def _data_version(batch: str, delivery: Delivery, staying: list[tuple[str, str]], code_version: str) -> str:
    """Bytes and code decide the rows, so they need not be hashed themselves; that would read the files twice."""
    facts = [batch, sorted(zip(delivery.names, delivery.sha256, strict=True)), staying, code_version]
    return short_hash(json.dumps(facts))


def _staying(
    lake: Lake,
    spec: PipelineSpec,
    batch: str,
    delivery: Delivery,
    superseded: Superseded | None,
    bad: list[FailedIngest],
) -> list[tuple[str, str]]:
    """Name and SHA-256 of the files whose earlier rows stay: those that nothing takes the place of.

    The bytes of a rejected file replace nothing.
    """
    if superseded is None:
        return []
    moved = {*delivery.names, *superseded.names}
    elsewhere = set(superseded.sha256) - {one.sha256 for one in bad}
    sql = "SELECT DISTINCT source_file AS f, source_sha256 AS s FROM {t} WHERE batch = $batch"
    found = _earlier(lake, spec, sql, {"batch": batch})
    return sorted((row["f"], row["s"]) for row in found if row["f"] not in moved and row["s"] not in elsewhere)


def _earlier(lake: Lake, spec: PipelineSpec, sql: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
    """What raw_data says of a batch; nothing where its data file is lost, which the new rows then take the place of."""
    try:
        return RAW_DATA.query(lake, spec.name, sql, parameters)
    except LakeError as error:
        if error.where.get("table") != RAW_DATA.of(spec.name):
            raise
        return []


def _with_staying(lake: Lake, spec: PipelineSpec, batch: str, relation: str, staying: list[tuple[str, str]]) -> str:
    """The batch's new rows, and after them those that stay."""
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE _raw_all AS SELECT * FROM {relation} UNION ALL BY NAME
        SELECT * REPLACE (row_number() OVER (ORDER BY row_id) + (SELECT count(*) FROM {relation}) AS row_id)
        FROM {RAW_DATA.sql(spec.name)}
        WHERE batch = $batch AND list_contains($staying, concat(source_sha256, ' ', source_file))""",
        {"batch": batch, "staying": [f"{sha256} {name}" for name, sha256 in staying]},
    )
    return "_raw_all"


def _failure(lake: Lake, spec: PipelineSpec, batch: str, part: Delivery, count: int, bad: list[FailedIngest]) -> bool:
    """Read one file of a batch of `count` to its end; one that fails is added to `bad`."""
    try:
        part.check_unchanged()
        relation, found = rows.read_through(lake.con, spec, batch, part)
        _check_columns(lake, spec, found, part)
        _check_rows(lake, spec, batch, relation, part, is_whole=count == 1)
    except Exception as error:
        if faults.stops_all(error):
            raise
        text = faults.explained(error).at(pipeline=spec.name, batch=batch, file=part.paths[0])
        bad.append(FailedIngest(str(text), batch, part.paths[0], part.sha256[0]))
        return True
    return False


def _check_columns(lake: Lake, spec: PipelineSpec, found: Mapping[str, str], delivery: Delivery) -> None:
    """Refuse files with which raw_data would hold too many undeclared columns."""
    name = RAW_DATA.of(spec.name)
    if spec.tolerate.new_columns != "keep" or not lake.exists(name):
        return
    ours = {*OWN_COLUMNS, *(column.name.lower() for column in spec.columns)}
    there = {column.lower() for column in lake.column_names(name)}
    new = [column for column in found if column.lower() not in there | ours]
    if new and len(there - ours) + len(new) > rows.MOST_NEW_COLUMNS:
        raise rows.too_many_columns(len(there - ours) + len(new), new, {"file": ", ".join(delivery.paths)})


def _check_rows(lake: Lake, spec: PipelineSpec, batch: str, relation: str, delivery: Delivery, is_whole: bool) -> None:
    """Refuse a batch without rows, and a file without rows where raw_data has rows of its name: they would be lost."""
    if is_whole and not lake.con.execute(f"SELECT 1 FROM {relation} LIMIT 1").fetchall():
        raise _empty(delivery.paths)
    if len(delivery.local) == 1 and is_whole:
        return
    sql = "SELECT DISTINCT source_file FROM {t} WHERE batch = $batch AND list_contains($names, source_file)"
    had = _earlier(lake, spec, sql, {"batch": batch, "names": delivery.names})
    if not had:
        return
    have = {row[0] for row in lake.con.execute(f"SELECT DISTINCT source_file FROM {relation}").fetchall()}
    emptied = {row["source_file"] for row in had} - have
    if emptied:
        raise _empty([path for path, name in zip(delivery.paths, delivery.names, strict=True) if name in emptied])


def _empty(paths: list[str]) -> SourceError:
    return SourceError(
        "The file has a header and no rows. Earlier rows of it stay as they were.",
        where={"file": ", ".join(paths)},
        fix="Deliver the file again with its rows; to drop a batch, remove its rows from the lake.",
    )
