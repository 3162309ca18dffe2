"""Writing an earlier state of a table again, as a new snapshot; history is never rewound.

What is restored is a write: where one wrote several tables, such as validated_data and quarantine, they go together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ml_assets.errors import LakeError, SchemaChange, did_you_mean
from ml_assets.lake.history import TableChange, check_snapshot, diff, tables_at
from ml_assets.lake.lake import WIDENS, Commit, Lake, Put, at
from ml_assets.lake.sql import table
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.audit import all_writes
from ml_assets.tables.data import FEATURES, LOOKUP, QUARANTINE, RAW_DATA, VALIDATED_DATA
from ml_assets.tables.decisions import DECISIONS
from ml_assets.tables.drift import DRIFT
from ml_assets.tables.families import table_of
from ml_assets.tables.feature_statistics import FEATURE_STATISTICS
from ml_assets.tables.predictions import PREDICTIONS
from ml_assets.tables.statistics import STATISTICS
from ml_assets.tables.table import Table
from ml_assets.tables.versions import ALIAS_EVENTS, VERSIONS, user

RESTORABLE = (RAW_DATA, VALIDATED_DATA, QUARANTINE, FEATURES, LOOKUP, PREDICTIONS, STATISTICS, FEATURE_STATISTICS)
# Why other tables are refused, and what to do instead; {p} is the pipeline.
AGAIN = "Another version: ml-assets models rollback {p}, or models promote {p} VERSION. Or train: the job {p}_train"
REFUSED: dict[Table | None, tuple[str, str]] = {
    DECISIONS: ("a decision is only followed by another, never taken back", AGAIN),
    ALIAS_EVENTS: ("an alias only moves by a new event", AGAIN),
    VERSIONS: ("a registered version stays", AGAIN),
    ARRIVALS: ("it says which files are there now", "Materialize {p}/arrivals."),
    DRIFT: ("it is a verdict on what was scored", "Materialize {p}/drift_report for the batch."),
}
LOG = ("its rows are only ever added", "Read it as it was: open_lake().table('{p}.{table_name}', snapshot=...)")


@dataclass(frozen=True)
class RestoredBatch:
    """One batch that is to be written again.

    Args:
        tables: Tables of the write.
        asset: Asset key of the write.
        code_version: Of the write that is restored; empty where the batch was not there, so that it is emptied.
        rows_now: Rows in the table that was named.
        rows_then: Rows that it had, and will have.
    """

    batch: str
    tables: list[str]
    asset: str
    code_version: str
    rows_now: int
    rows_then: int


@dataclass(frozen=True)
class Plan:
    """What a restore will do; nothing to do where there are no batches.

    Args:
        change: From now to what will be.
        reshape: The table also takes back the columns that it had.
    """

    table: str
    snapshot_id: int
    batches: list[RestoredBatch]
    change: TableChange | None
    reshape: bool


def plan(lake: Lake, name: str, snapshot: int, batch: str | None = None) -> Plan:
    """What must be written so that a table, or one batch of it, holds again what it held at a snapshot.

    With a batch its columns stay: those that came later are NULL in it. Without, the table takes back its columns too,
    and batches that came later are emptied.

    Raises:
        LakeError: No such table, snapshot or batch, or a table that is not batch data.
        SchemaChange: A column of the batch has another type now.
    """
    _check_table(lake, name)
    check_snapshot(lake, snapshot)
    then = _rows(lake, name, snapshot)
    if batch is not None and batch not in then:
        raise LakeError(
            f"{name} had no batch {batch!r} at snapshot {snapshot}.",
            fix=did_you_mean(batch, then) if then else "It had none.",
        )
    changes = diff(lake, lake.snapshot(), snapshot, name=name)
    if not changes:
        return Plan(name, snapshot, [], None, False)
    (change,) = changes
    now = _rows(lake, name)
    differs = {str(one.batch) for one in change.batches}
    if change.old != change.new:
        differs = {*then, *now}
        if batch is not None:
            _check_types(change, batch, snapshot)
    chosen = sorted(differs if batch is None else differs & {batch})
    writes, existed = _writes(lake, name), tables_at(lake, snapshot)
    batches = []
    for one in chosen:
        was = [write for write in writes.get(one, []) if write["snapshot_id"] <= snapshot] if one in then else []
        like = (was or writes.get(one) or [{"asset": name.replace(".", "/"), "tables": [name]}])[-1]
        batches.append(
            RestoredBatch(
                batch=one,
                tables=[t for t in like["tables"] if t in existed],
                asset=like["asset"],
                code_version=was[-1]["code_version"] or "" if was else "",
                rows_now=now.get(one, 0),
                rows_then=then.get(one, 0),
            )
        )
    return Plan(name, snapshot, batches, change, batch is None and change.old != change.new)


def restore(lake: Lake, planned: Plan, why: str) -> list[int]:
    """Write the batches of a plan, each in a snapshot of its own; returns their ids.

    A restore that is interrupted leaves whole batches; the same command again does the rest.
    """
    note = {"restored": {"snapshot": planned.snapshot_id, "by": user(), "why": why}}
    made = []
    for one in planned.batches:
        puts = []
        for number, name in enumerate(one.tables):
            rows = f"restored_{number}"
            lake.con.execute(
                f"CREATE OR REPLACE TEMP TABLE {rows} AS SELECT * FROM {table(name)}{at(planned.snapshot_id)} "
                "WHERE batch = ?",
                [one.batch],
            )
            puts.append(Put(name, rows, one.batch, reshape=planned.reshape and name == planned.table))
        commit = Commit(asset=one.asset, code_version=one.code_version, batch=one.batch, note=note)
        made.append(lake.replace(puts, commit)[0].snapshot_id)
    return made


def _check_table(lake: Lake, name: str) -> None:
    pipeline, _, table_name = name.partition(".")
    can = [one for one in lake.tables() if _is_restorable(one.partition(".")[2])]
    if not lake.exists(name):
        raise LakeError(f"The lake has no table {name}.", fix=did_you_mean(name, can))
    if not _is_restorable(table_name):
        why, fix = REFUSED.get(table_of(table_name), LOG)
        raise LakeError(
            f"{name} cannot be restored: {why}.",
            where={"table": name},
            fix=fix.format(p=pipeline, table_name=table_name),
        )


def _is_restorable(table_name: str) -> bool:
    return table_of(table_name) in RESTORABLE


def _check_types(change: TableChange, batch: str, snapshot: int) -> None:
    for column, (now, then) in change.retyped.items():
        if not (now in WIDENS and then in WIDENS):
            raise SchemaChange(
                f"Batch {batch} alone cannot go back: column {column} was {then} at snapshot {snapshot}, and is {now}.",
                where={"table": change.table, "column": column},
                fix="Restore the whole table, without --batch.",
            )


def _rows(lake: Lake, name: str, snapshot: int | None = None) -> dict[str, int]:
    rows = lake.table(name, snapshot=snapshot).aggregate("batch, count(*)").fetchall()
    return {str(batch): int(count) for batch, count in rows}


def _writes(lake: Lake, name: str) -> dict[str, list[dict[str, Any]]]:
    """Batch -> the writes of a table, oldest first, with the tables that each wrote."""
    pipeline = name.partition(".")[0]
    found: dict[str, list[dict[str, Any]]] = {}
    rows = lake.rows(
        f"""
        SELECT DISTINCT ON (snapshot_id) asset, batch, snapshot_id, code_version, json_keys(data_versions) AS tables
        FROM {all_writes(lake, pipeline)}
        WHERE batch IS NOT NULL AND list_contains(json_keys(data_versions), $name) ORDER BY snapshot_id
        """,
        {"name": name, "prefix": f"{pipeline}/"},
    )
    for row in rows:
        row["tables"] = [t for t in row["tables"] if _is_restorable(t.partition(".")[2])]
        found.setdefault(row["batch"], []).append(row)
    return found
