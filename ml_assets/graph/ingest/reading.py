"""Raw batches: files become rows of raw_data, and one that cannot be read is set aside."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from ml_assets.errors import LakeError, SourceError
from ml_assets.graph.ingest import arrivals, files, schema
from ml_assets.graph.ingest.files import Delivery
from ml_assets.graph.ingest.schema import SchemaEvent
from ml_assets.spec import PipelineSpec
from ml_assets.store.failures import FailedIngest
from ml_assets.store.lake import Commit, Lake, Put, Written
from ml_assets.store.sql import table


@dataclass(frozen=True)
class RawBatch:
    """What reading a batch left.

    Args:
        written: The write.
        events: Changes of columns.
        bad: Files that are set aside.
    """

    written: Written
    events: list[SchemaEvent]
    bad: list[FailedIngest]


def write_batch(lake: Lake, spec: PipelineSpec, batch: str, delivery: Delivery, commit: Commit) -> RawBatch:
    """Replace a batch of raw_data by the rows of its files, typed as declared.

    Of several files, one that cannot be read to its end is set aside; the rows of one that has vanished stay.

    Raises:
        SourceError: No file can be read.
        LakeError: The lake cannot be written.
    """
    try:
        return _write(lake, spec, batch, delivery, commit, [])
    except (SourceError, LakeError):
        bad: list[FailedIngest] = []
        good = [part for part in delivery.parts() if not _failure(lake, spec, batch, part, bad)]
        if not bad:
            raise
        if not good:
            raise SourceError(bad[0].error) from None
    return _write(lake, spec, batch, files.joined(good), commit, bad)


def _write(
    lake: Lake, spec: PipelineSpec, batch: str, delivery: Delivery, commit: Commit, bad: list[FailedIngest]
) -> RawBatch:
    relation, found = files.open_rows(lake.con, spec, batch, delivery)
    gone = arrivals.vanished_files(lake, spec, batch) if lake.exists(f"{spec.name}.raw_data") else []
    if gone:
        relation = _with_rows_of(lake, spec, batch, relation, gone)
    events = schema.changes(lake, spec, batch, found)
    version = _data_version(batch, delivery, gone, commit.code_version)
    put = Put(f"{spec.name}.raw_data", relation, batch, version=version)
    try:
        written, *_ = lake.replace([put, *schema.puts(lake, spec, events, commit)], commit)
    finally:
        lake.con.execute("DROP TABLE IF EXISTS _raw_rows; DROP TABLE IF EXISTS _raw_all")
    return RawBatch(written, events, bad)


def _data_version(batch: str, delivery: Delivery, gone: list[str], code_version: str) -> str:
    """Bytes and code decide the rows, so they need not be hashed themselves; that would read the files twice."""
    facts = [batch, sorted(zip(delivery.names, delivery.sha256, strict=True)), gone, code_version]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _with_rows_of(lake: Lake, spec: PipelineSpec, batch: str, relation: str, gone: list[str]) -> str:
    """The batch's new rows, and after them those that raw_data has of vanished files."""
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE _raw_all AS SELECT * FROM {relation} UNION ALL BY NAME
        SELECT * REPLACE (row_number() OVER (ORDER BY row_id) + (SELECT count(*) FROM {relation}) AS row_id)
        FROM {table(f"{spec.name}.raw_data")} WHERE batch = $batch AND list_contains($gone, source_sha256)""",
        {"batch": batch, "gone": gone},
    )
    return "_raw_all"


def _failure(lake: Lake, spec: PipelineSpec, batch: str, part: Delivery, bad: list[FailedIngest]) -> bool:
    """Read one file of a batch to its end; one that fails is added to `bad`."""
    try:
        files.read_through(lake.con, spec, batch, part)
    except SourceError as error:
        bad.append(FailedIngest(str(error.at(pipeline=spec.name, batch=batch)), batch, part.paths[0], part.sha256[0]))
        return True
    return False
