"""The audit trail: what each snapshot of the lake was written by, read back from its commit message.

Maintenance copies what it would lose to a table before it expires a snapshot, so both are read.
"""

from __future__ import annotations

import datetime as dt
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables import remembered
from ml_assets.tables.ingest_errors import INGEST_ERRORS
from ml_assets.tables.table import Column, Table

WRITES = Table(
    "writes",
    "An expired write that staleness must know: the newest of an asset and batch, and each that changed its content.",
    (
        Column("asset", "VARCHAR", "Asset key, such as flights/features."),
        Column("batch", "VARCHAR", "The batch that was written; NULL where the asset has none."),
        Column("snapshot_id", "BIGINT", "The snapshot that it made."),
        Column("written_at", "TIMESTAMP", "When, UTC."),
        Column("code_version", "VARCHAR", "Code version of the asset."),
        Column("data_versions", "JSON", "Table -> hash of what was written."),
        Column("rows", "JSON", "Table -> rows that were written."),
        Column("run_id", "VARCHAR", "Dagster run."),
        Column("read_at", "BIGINT", "The snapshot that the rows were computed from; NULL where none was noted."),
    ),
    written_by="job PIPELINE_maintenance",
    format=2,
)
Place = tuple[str, str | None]
CommitFacts = tuple[int, str, str, str]  # of `Lake.commits`
READ_AT = "read_at"  # in a commit's note


@dataclass(frozen=True, slots=True)
class LastWrite:
    """The newest write of an asset, or of one batch of it.

    Args:
        asset: Asset key such as `flights/features`.
        batch: The batch; None where the asset has none.
        snapshot_id: The snapshot that it made.
        code_version: Code version of the asset that was written for.
        run_id: Dagster run.
        written_at: When, UTC.
        data_versions: Table of that write -> hash of what was written.
        read_at: The snapshot that it was computed from; None where none was noted.
    """

    asset: str
    batch: str | None
    snapshot_id: int
    code_version: str
    run_id: str
    written_at: dt.datetime
    data_versions: dict[str, str]
    read_at: int | None = None

    @property
    def knew(self) -> int:
        """The newest snapshot whose rows it may have read: what others wrote until its commit came too late."""
        return self.snapshot_id if self.read_at is None else self.read_at


@dataclass
class Trail:
    """What is known of a pipeline's writes.

    Args:
        writes: (asset, batch) -> its newest write. A write that fills several tables counts for each of them.
        failures: (asset, batch) -> its newest attempt that recorded a failure.
        contents: (asset, batch) -> snapshots at which the content of its table changed, in order, and the data
            version since then. A second write of the same content is no change.
    """

    writes: dict[Place, LastWrite] = field(default_factory=dict)
    failures: dict[Place, LastWrite] = field(default_factory=dict)
    contents: dict[Place, tuple[list[int], list[str]]] = field(default_factory=dict)

    def content(self, place: Place, snapshot: int | None = None) -> str | None:
        """The data version of a place at a snapshot, by default now; None before its first write."""
        snapshots, versions = self.contents.get(place, ([], []))
        at = len(snapshots) if snapshot is None else bisect_right(snapshots, snapshot)
        return versions[at - 1] if at else None

    def changed_at(self, place: Place) -> int:
        """The snapshot at which a place got the content that it has now; 0 where it has none."""
        snapshots, _ = self.contents.get(place, ([], []))
        return snapshots[-1] if snapshots else 0


def last_writes(lake: Lake, pipeline: str) -> dict[Place, LastWrite]:
    """(asset key, batch) -> its newest write, for every asset of a pipeline."""
    return read_trail(lake, pipeline).writes


def since(lake: Lake, pipeline: str, moment: dt.datetime) -> list[LastWrite]:
    """Writes of a pipeline's assets by runs, from a moment on; those that only recorded a failure are left out."""
    rows = lake.rows(
        f"""SELECT asset, batch, snapshot_id, code_version, run_id, written_at, data_versions
        FROM {all_writes(lake, pipeline)} WHERE written_at >= $moment AND run_id <> '' ORDER BY snapshot_id""",
        {"prefix": f"{pipeline}/", "moment": moment},
    )
    found = [LastWrite(**{**row, "data_versions": json.loads(row["data_versions"] or "{}")}) for row in rows]
    return [write for write in found if set(write.data_versions) != {INGEST_ERRORS.of(pipeline)}]


def read_trail(lake: Lake, pipeline: str) -> Trail:
    """Every write of a pipeline, oldest first, folded into what is known of each asset and batch. Not to be changed.

    What this process has read before is not read again, unless its last write is no longer there as it was.
    """
    memory, key = remembered.memory(lake), ("trail", pipeline)  # with its last write
    prefix, failures = f"{pipeline}/", INGEST_ERRORS.of(pipeline)
    with lake.one_snapshot():
        last, earlier = memory.get(key, (None, Trail()))
        commits = lake.commits(prefix, last[0] if last else 0)
        if last and commits[:1] == [last]:
            trail, commits = Trail(dict(earlier.writes), dict(earlier.failures), dict(earlier.contents)), commits[1:]
            kept = []
        else:
            trail, kept = Trail(), WRITES.query(lake, pipeline, "SELECT * EXCLUDE (rows) FROM {t}")
            commits = lake.commits(prefix) if last else commits
    writes = {row["snapshot_id"]: _kept(row) for row in kept} | {one[0]: _committed(one) for one in commits}
    for _, write in sorted(writes.items()):
        _fold(trail, write, failures)
    if commits:
        memory[key] = commits[-1], trail
    return trail


def _kept(row: dict[str, Any]) -> LastWrite:
    versions = json.loads(row["data_versions"] or "{}") or {}
    named = {name: row[name] or "" for name in ("code_version", "run_id")}
    return LastWrite(**{**row, **named, "data_versions": versions})


def _committed(commit: CommitFacts) -> LastWrite:
    snapshot, moment, asset, text = commit
    try:
        extra = json.loads(text or "{}")
    except ValueError:
        extra = {}
    return LastWrite(
        asset=asset,
        batch=extra.get("batch"),
        snapshot_id=snapshot,
        code_version=extra.get("code_version") or "",
        run_id=extra.get("run_id") or "",
        written_at=dt.datetime.fromisoformat(moment).astimezone(dt.UTC).replace(tzinfo=None),
        data_versions=extra.get("data_versions") or {},
        read_at=extra.get(READ_AT),
    )


def _fold(trail: Trail, write: LastWrite, failures: str) -> None:
    place = (write.asset, write.batch)
    if set(write.data_versions) == {failures}:
        trail.failures[place] = write
        return
    trail.writes[place] = write
    for name, version in write.data_versions.items():
        place = (name.replace(".", "/", 1), write.batch)
        trail.writes[place] = write
        snapshots, known = trail.contents.get(place, ([], []))
        if not known or known[-1] != version:  # new lists: the trail that was read before has those
            trail.contents[place] = ([*snapshots, write.snapshot_id], [*known, version])


def all_writes(lake: Lake, pipeline: str) -> str:
    """SQL of every known write of a pipeline, with the columns of `WRITES`; its parameter $prefix is `<pipeline>/`.

    A write can be there twice, equal both times, where maintenance was killed between keeping and expiring it.
    """
    fields = ("code_version", "data_versions", "rows", "run_id")
    facts = ", ".join(f"extra ->{'' if WRITES.types[name] == 'JSON' else '>'} '{name}' AS {name}" for name in fields)
    facts += f", (extra ->> '{READ_AT}')::BIGINT AS {READ_AT}"
    live = f"""SELECT asset, extra ->> 'batch' AS batch, snapshot_id, written_at, {facts} FROM (
        SELECT snapshot_id, snapshot_time AT TIME ZONE 'UTC' AS written_at, commit_message AS asset,
            TRY_CAST(commit_extra_info AS JSON) AS extra
        FROM lake.snapshots() WHERE starts_with(commit_message, $prefix))"""
    kept = WRITES.relation(lake, pipeline)
    return f"({live})" if kept is None else f"({live} UNION ALL BY NAME FROM {kept})"


def writer_of(lake: Lake, name: str) -> str | None:
    """Asset key of the newest write of a table, such as `flights.features`; None where no write names the table."""
    schema = name.partition(".")[0]
    rows = lake.rows(
        f"""
        SELECT max_by(asset, snapshot_id) AS asset FROM {all_writes(lake, schema)}
        WHERE list_contains(json_keys(data_versions), $name)
        """,
        {"name": name, "prefix": "" if schema == "main" else f"{schema}/"},
    )
    return str(rows[0]["asset"]) if rows[0]["asset"] else None


def keep_writes(lake: Lake, pipeline: str, snapshots: list[int], own: Sequence[str], commit: Commit) -> None:
    """Copy what staleness must know of these snapshots, which are about to expire, to the table.

    For each asset, batch and set of tables: the newest write, and each that changed the content.

    Args:
        lake: The lake.
        pipeline: Its schema.
        snapshots: Their ids.
        own: Keys of what needs no audit: the maintenance itself.
        commit: Who writes.
    """
    there = WRITES.relation(lake, pipeline)
    kept = "" if there is None else f"AND snapshot_id NOT IN (SELECT snapshot_id FROM {there})"
    lake.con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE writes_to_keep AS
        SELECT {", ".join(WRITES.types)} FROM (
            SELECT *, list_contains($snapshots, snapshot_id) AS expires,
                lag(data_versions) OVER (place ORDER BY snapshot_id) IS DISTINCT FROM data_versions AS is_change
            FROM (SELECT DISTINCT ON (snapshot_id) * FROM {all_writes(lake, pipeline)})
            WHERE NOT list_contains($own, asset)
            WINDOW place AS (PARTITION BY asset, batch, json_keys(data_versions))
        )
        WHERE expires {kept}
        QUALIFY is_change OR snapshot_id = max(snapshot_id) OVER (PARTITION BY asset, batch, json_keys(data_versions))
        """,
        {"prefix": f"{pipeline}/", "snapshots": snapshots, "own": list(own)},
    )
    if lake.con.execute("SELECT count(*) FROM writes_to_keep").fetchall()[0][0]:
        lake.replace([WRITES.put(pipeline, "writes_to_keep", append=True)], commit)
