"""Lookups and references for the server: as the next batch will see them, so that online features equal the batch's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_assets.atomic import short_hash
from ml_assets.lake.lake import Commit, Lake, Put, Written
from ml_assets.lake.sql import literal
from ml_assets.tables.table import Column, Table
from ml_assets.tables.versions import now

ONLINE_LOOKUPS = Table(
    "online_lookups",
    "A lookup or reference of the server: how fresh it is.",
    (
        Column("kind", "VARCHAR", "lookups or references; with `name` also its file in an export and in a release."),
        Column("name", "VARCHAR", "Its name in the YAML."),
        Column("newest_batch", "VARCHAR", "The newest batch with validated rows when it was made."),
        Column("history", "VARCHAR[]", "The batches that a lookup was computed from; empty for a reference."),
        Column("rows", "BIGINT", "Its rows."),
        Column("data_version", "VARCHAR", "Hash of its rows."),
        Column("made_at", "TIMESTAMP", "When it was computed or read, UTC."),
    ),
    written_by="asset online_lookups",
)
ONLINE_LOOKUP = Table(
    "online_lookup_NAME",
    "A lookup as the next batch will see it, one row for each of its keys.",
    (),
    written_by="asset online_lookups",
    further="each column of the lookup's SELECT",
)
ONLINE_REFERENCE = Table(
    "online_reference_NAME",
    "A row of a reference, as it was read when online_lookups was made.",
    (),
    written_by="asset online_lookups",
    further="each column of the reference",
)
LOOKUPS, REFERENCES = "lookups", "references"
KINDS = {LOOKUPS: ONLINE_LOOKUP, REFERENCES: ONLINE_REFERENCE}


@dataclass(frozen=True)
class Made:
    """A lookup or reference to write.

    Args:
        kind: lookups or references.
        name: Its name in the YAML.
        source: A relation of the lake's connection with its rows.
        history: The batches that it was computed from.
    """

    kind: str
    name: str
    source: str
    history: Sequence[str] = ()


@dataclass(frozen=True)
class Fresh:
    """How fresh an exported table is.

    Args:
        newest_batch: The newest batch when it was made.
        made_at: When it was computed or read, UTC.
        rows: Its rows.
    """

    newest_batch: str | None
    made_at: dt.datetime
    rows: int


@dataclass(frozen=True)
class Age:
    """What an export holds.

    Args:
        stamp: As `stamp` gave it for the same content.
        tables: `lookups/NAME` or `references/NAME` -> how fresh it is.
    """

    stamp: str
    tables: Mapping[str, Fresh]


def table_for(kind: str, name: str) -> Table:
    """The table of one lookup or reference."""
    table = KINDS[kind]
    return table.named(table.name.removesuffix("NAME") + name)


def write(lake: Lake, pipeline: str, made: Sequence[Made], newest_batch: str, commit: Commit) -> list[Written]:
    """Write what has changed, and how fresh all of them are, in one snapshot; the latter is the first result."""
    known = {(row["kind"], row["name"]): row["data_version"] for row in _listed(lake, pipeline)}
    rows: list[dict[str, object]] = []
    changed: list[Put] = []
    for one in made:
        table = table_for(one.kind, one.name)
        version = lake.data_version(table.put(pipeline, one.source))
        rows.append(
            {
                "kind": one.kind,
                "name": one.name,
                "newest_batch": newest_batch,
                "history": list(one.history),
                "rows": lake.fetch(f"SELECT count(*) FROM {one.source}")[0][0],
                "data_version": version,
                "made_at": now(),
            }
        )
        if known.get((one.kind, one.name)) != version or not lake.exists(table.of(pipeline)):
            changed.append(table.put(pipeline, one.source, reshape=True, version=version))
    listed = lake.values(ONLINE_LOOKUPS.types, rows)
    return lake.replace([ONLINE_LOOKUPS.put(pipeline, listed, volatile=("made_at",)), *changed], commit)


def age(lake: Lake, pipeline: str) -> Age | None:
    """How fresh the lookups and references are; None where there are none."""
    rows = _listed(lake, pipeline)
    return _age(rows) if rows else None


def stamp(lake: Lake, pipeline: str) -> str | None:
    """A text that changes when the content of a lookup or reference does; None where there are none."""
    return _stamp(_listed(lake, pipeline))


def export(lake: Lake, pipeline: str, folder: Path) -> Age:
    """Write lookups/NAME.parquet and references/NAME.parquet into a folder, all as they were at one moment.

    Returns:
        How fresh they are; empty where the lake has none.
    """
    snapshot = lake.snapshot()
    rows = _listed(lake, pipeline, snapshot)
    for row in rows:
        file = folder / row["kind"] / f"{row['name']}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        source = table_for(row["kind"], row["name"]).sql(pipeline, snapshot)
        lake.fetch(f"COPY (FROM {source}) TO {literal(str(file))} (FORMAT parquet)")
    return _age(rows)


def _listed(lake: Lake, pipeline: str, snapshot: int | None = None) -> list[dict[str, Any]]:
    relation = ONLINE_LOOKUPS.relation(lake, pipeline, snapshot)
    return [] if relation is None else lake.rows(f"FROM {relation} ORDER BY kind, name")


def _age(rows: Sequence[Mapping[str, Any]]) -> Age:
    tables = {
        f"{row['kind']}/{row['name']}": Fresh(row["newest_batch"], row["made_at"], int(row["rows"])) for row in rows
    }
    return Age(_stamp(rows) or "", tables)


def _stamp(rows: Sequence[Mapping[str, object]]) -> str | None:
    return short_hash(repr([(row["kind"], row["name"], row["data_version"]) for row in rows])) if rows else None
