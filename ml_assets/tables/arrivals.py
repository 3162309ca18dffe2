"""Arrivals: every file that was seen in a source folder, and what became of it.

A scan adds the new files. Where something is said otherwise of a known one, it replaces the whole table.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from ml_assets.errors import SourceError
from ml_assets.lake.lake import Commit, Lake, Put, Written
from ml_assets.lake.sql import identifier
from ml_assets.tables import data
from ml_assets.tables.table import Column, Table

ARRIVALS = Table(
    "arrivals",
    "A file that was seen in the source folder, and whether it can be ingested.",
    (
        Column("path", "VARCHAR", "Absolute path, or URL."),
        Column("batch", "VARCHAR", "The batch that its name contains; NULL where the name does not match the pattern."),
        Column("sha256", "VARCHAR", "SHA-256 of its bytes; NULL while it has not settled."),
        Column("size_bytes", "BIGINT", "Size in bytes."),
        Column("modified_at", "TIMESTAMP", "When it was last changed, UTC."),
        Column("seen_at", "TIMESTAMP", "When it was first seen with this size and time of change, UTC."),
        Column("status", "VARCHAR", "ready, settling, unmatched, refused, duplicate or vanished."),
        Column("error", "VARCHAR", "Why it is not ready."),
        Column("tag", "VARCHAR", "Changes with the content: time of any change (ctime), or ETag of a URL."),
    ),
    written_by="asset arrivals",
    key=("path",),
    format=2,
)
OUTCOME_FILES = replace(
    ARRIVALS,
    name="outcome_files",
    description="A file that was seen in the folder of outcomes, and whether its rows were added.",
    written_by="asset outcomes",
)
REJECTED = ("refused", "duplicate", "unmatched")
# What people read of a state.
WORDS = {"refused": "rejected", "duplicate": "skipped as a duplicate", "unmatched": "skipped for its name"}


class Stamped(Protocol):
    """What a listing of files says of one."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def modified_at(self) -> dt.datetime: ...
    @property
    def tag(self) -> str | None: ...


class Arrival(NamedTuple):
    """One file that was seen.

    Args:
        path: Absolute path, or URL.
        batch: The batch that its name says; None where the pattern does not match.
        sha256: Of its bytes; None while it has not settled.
        size_bytes: Size.
        modified_at: Last change, UTC.
        seen_at: When it was first seen with this size and time of change, UTC.
        status: ready, settling, unmatched, refused, duplicate, or vanished.
        error: Why it is not ready.
        tag: What else tells one content from another, see `sources.remote.Entry`.
    """

    path: str
    batch: str | None
    sha256: str | None
    size_bytes: int
    modified_at: dt.datetime
    seen_at: dt.datetime
    status: str = "ready"
    error: str | None = None
    tag: str | None = None

    @property
    def version(self) -> str:
        """Tells one content of the file from another without reading it."""
        return f"{self.size_bytes} {self.modified_at.isoformat()} {self.tag or ''}".rstrip()

    def is_as(self, other: Stamped | None) -> bool:
        """Has the other the same size, time and, where both know it, tag, so that its bytes need not be read again?"""
        if other is None or (self.size_bytes, self.modified_at) != (other.size_bytes, other.modified_at):
            return False
        return self.tag is None or other.tag is None or self.tag == other.tag


def known(lake: Lake, pipeline: str, listed: Table = ARRIVALS) -> dict[str, Arrival]:
    """Files as last recorded, by path.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        listed: `ARRIVALS` or `OUTCOME_FILES`.
    """
    columns = ", ".join(map(identifier, listed.types))
    with lake.one_snapshot():
        relation = listed.relation(lake, pipeline)
        rows = lake.fetch(f"SELECT {columns} FROM {relation}", name=listed.of(pipeline)) if relation else []
    return {one.path: one for one in map(Arrival._make, rows)}


def states(lake: Lake, pipeline: str) -> list[tuple[str, str, str | None, str | None]]:
    """Batch, status, SHA-256 and error of the files that belong to a batch."""
    rows = ARRIVALS.query(lake, pipeline, "SELECT batch, status, sha256, error FROM {t}")
    return [(*row.values(),) for row in rows if row["batch"] is not None]


def _arrivals(listed: Table, rows: Iterable[Mapping[str, Any]]) -> Iterator[Arrival]:
    names = list(listed.types)
    return (Arrival(**{name: row[name] for name in names}) for row in rows)


def write(
    lake: Lake, pipeline: str, found: Sequence[Arrival], earlier: Mapping[str, Arrival], read_at: int, commit: Commit
) -> Written:
    """Record what a scan found; of two scans at once, the whole of what the later one found.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        found: Every file.
        earlier: Files as they were recorded, by path,
        read_at: at this snapshot.
        commit: Who writes.
    """

    def check_latest() -> None:
        if lake.has_changed(ARRIVALS.of(pipeline), read_at):
            raise _Overtaken

    try:
        (written,) = lake.replace([put(lake, pipeline, found, earlier=earlier)], commit, before_commit=check_latest)
    except _Overtaken:
        (written,) = lake.replace([put(lake, pipeline, found)], commit)
    return replace(written, rows=len(found))


class _Overtaken(Exception):
    """Another scan has written since the known files were read."""


def put(
    lake: Lake,
    pipeline: str,
    found: Sequence[Arrival],
    listed: Table = ARRIVALS,
    earlier: Mapping[str, Arrival] | None = None,
) -> Put:
    """The write of what a scan found: of the new files alone, where all recorded `earlier` are as they were."""
    known = earlier or {}
    new = [one for one in found if one.path not in known]
    grows = len(found) - len(new) == len(known) and all(known.get(one.path) in (one, None) for one in found)
    stored = listed.relation(lake, pipeline) if known and grows else None
    names = list(listed.types)
    rows = [{name: getattr(one, name) for name in names} for one in (new if stored else found)]
    source = lake.values(listed.types, rows)
    if not stored:
        return listed.put(pipeline, source)
    whole = listed.put(pipeline, f"(FROM {source} UNION ALL BY NAME FROM {stored})")
    return listed.put(pipeline, source, append=True, version=lake.data_version(whole))


def of_status(lake: Lake, pipeline: str, *statuses: str, listed: Table = ARRIVALS) -> list[Arrival]:
    """Files of some states, those of the first state first, then by path."""
    sql = "SELECT * FROM {t} WHERE list_contains($statuses, status)"
    rows = listed.query(lake, pipeline, sql, {"statuses": list(statuses)})
    return sorted(_arrivals(listed, rows), key=lambda one: (one.status != statuses[0], one.path))


def ready_batches(arrivals: Iterable[Arrival]) -> set[str]:
    """Batches with a ready file."""
    return {one.batch for one in arrivals if one.status == "ready" and one.batch is not None}


def by_batch(arrivals: Iterable[Arrival]) -> dict[str, list[str]]:
    """Batch -> paths of its ready files, both in order."""
    found: dict[str, list[str]] = {}
    for arrival in arrivals:
        if arrival.status == "ready" and arrival.batch is not None:
            found.setdefault(arrival.batch, []).append(arrival.path)
    return dict(sorted(found.items()))


def files_of(lake: Lake, pipeline: str, folder: str, batch: str) -> list[Arrival]:
    """The ready files of a batch, as they were seen.

    Raises:
        SourceError: The batch has no file, or was refused.
    """
    again = f"Materialize {pipeline}/arrivals, then this batch again."
    arrivals = _of_batch(lake, pipeline, batch)
    ready = sorted((a for a in arrivals if a.status == "ready"), key=lambda a: a.path)
    for arrival in arrivals if not ready else ():
        raise SourceError(
            f"The batch's file is {arrival.status}.", found=arrival.error, where={"file": arrival.path}, fix=again
        )
    if not ready:
        raise SourceError("No file has arrived for the batch.", where={"folder": folder}, fix=again)
    return ready


def unread(lake: Lake, pipeline: str, batch: str) -> list[str]:
    """Paths of ready files of a batch whose rows raw_data does not hold."""
    sql = "SELECT DISTINCT source_sha256 AS sha256 FROM {t}"
    read = {row["sha256"] for row in data.RAW_DATA.query(lake, pipeline, sql, batches=[batch])}
    ready = (one for one in _of_batch(lake, pipeline, batch) if one.status == "ready")
    return sorted(one.path for one in ready if one.sha256 not in read)


def _of_batch(lake: Lake, pipeline: str, batch: str) -> list[Arrival]:
    """What was found of a batch. By a function: a comparison lets DuckLake read the statistics of all files."""
    rows = ARRIVALS.query(lake, pipeline, "SELECT * FROM {t} WHERE list_contains([$batch], batch)", {"batch": batch})
    return list(_arrivals(ARRIVALS, rows))
