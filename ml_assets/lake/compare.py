"""Which rows differ between two states of a table: by their key where they have one, else as whole rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ml_assets.lake.lake import WIDENS, Lake
from ml_assets.lake.sql import identifier, identifiers

LONGEST_KEY = 4  # columns
INEXACT = ("FLOAT", "DOUBLE", "JSON")


@dataclass(frozen=True)
class BatchChange:
    """What changed in one batch, or in a whole table that has no batches.

    Args:
        added: Rows whose key is new.
        removed: Rows whose key is gone.
        changed: Rows of the same key with other values in a column that both sides have.
        columns: Column -> rows in which it changed, most first.
    """

    batch: str | None
    added: int
    removed: int
    changed: int = 0
    columns: dict[str, int] = field(default_factory=dict)


def compare(
    lake: Lake, before: str, after: str, old: dict[str, str], new: dict[str, str], batches: Sequence[str | None]
) -> tuple[list[str], list[BatchChange]]:
    """The key of the rows, and the batches in which rows differ.

    Args:
        lake: The lake.
        before: SQL of the earlier rows.
        after: SQL of the later rows.
        old: Column -> type of the earlier rows.
        new: Column -> type of the later rows.
        batches: Batches to look at; None among them stands for all rows of a table without batches.
    """
    if not batches:
        return [], []
    shared = [column for column in old if column in new]
    where = "" if None in batches else " WHERE list_contains($batches, batch)"
    part = "NULL" if None in batches else "batch"
    values: dict[str, object] = {} if None in batches else {"batches": list(batches)}
    sides = [f"(SELECT * FROM {side}{where})" for side in (before, after)]
    key = _key(lake, sides, shared, old, values)
    if key:
        differs = {c: _differs(c, old[c], new[c]) for c in shared if c not in key}
        return key, _by_key(lake, sides, key, part, differs, values)
    columns = ", ".join(identifier(c) if old[c] == new[c] else f"{identifier(c)}::VARCHAR" for c in shared)
    return [], _by_row(lake, sides, columns, part, values)


def _key(
    lake: Lake, sides: Sequence[str], shared: Sequence[str], types: dict[str, str], values: dict[str, object]
) -> list[str]:
    """batch and row_id where there is a row_id, else the shortest run of first columns that is unique on both sides."""
    if "row_id" in shared:
        tried = [[column for column in ("batch", "row_id") if column in shared]]
    else:
        exact = [column for column in shared if types[column] not in INEXACT][:LONGEST_KEY]
        tried = [exact[:length] for length in range(1, len(exact) + 1)]
    for columns in tried:
        duplicates = f"SELECT count(*) - count(DISTINCT row({identifiers(columns)})) FROM "
        if not any(lake.fetch(duplicates + side, values)[0][0] for side in sides):
            return columns
    return []


def _differs(column: str, old: str, new: str) -> str:
    name = identifier(column)
    text = "" if old == new or (old in WIDENS and new in WIDENS) else "::VARCHAR"
    return f"(a.{name}{text} IS DISTINCT FROM b.{name}{text})"


def _by_key(
    lake: Lake,
    sides: Sequence[str],
    key: Sequence[str],
    part: str,
    differs: dict[str, str],
    values: dict[str, object],
) -> list[BatchChange]:
    same = " AND ".join(f"a.{identifier(column)} IS NOT DISTINCT FROM b.{identifier(column)}" for column in key)
    both = "a.is_before AND b.is_after"
    counts = "".join(f", count(*) FILTER ({both} AND {one})" for one in differs.values())
    rows = lake.fetch(
        f"""
        SELECT {"NULL" if part == "NULL" else "coalesce(a.batch, b.batch)"} AS part,
            count(*) FILTER (a.is_before IS NULL), count(*) FILTER (b.is_after IS NULL),
            count(*) FILTER ({both} AND ({" OR ".join(differs.values()) or "false"})){counts}
        FROM (SELECT *, true AS is_before FROM {sides[0]}) a
        FULL JOIN (SELECT *, true AS is_after FROM {sides[1]}) b ON {same}
        GROUP BY part ORDER BY part
        """,
        values,
    )
    found = []
    for batch, added, removed, changed, *per_column in rows:
        columns = sorted(zip(differs, per_column, strict=True), key=lambda item: -item[1])
        found.append(BatchChange(batch, added, removed, changed, {name: count for name, count in columns if count}))
    return [one for one in found if one.added or one.removed or one.changed]


def _by_row(lake: Lake, sides: Sequence[str], columns: str, part: str, values: dict[str, object]) -> list[BatchChange]:
    """Without a key a row that changed is one removed and one added."""
    rows = lake.fetch(
        f"""
        SELECT part, sum(greatest(surplus, 0)), sum(greatest(-surplus, 0)) FROM (
            SELECT part, sum(side) AS surplus FROM (
                SELECT {part} AS part, hash({columns}) AS row_hash, -1 AS side FROM {sides[0]}
                UNION ALL SELECT {part}, hash({columns}), 1 FROM {sides[1]}
            ) GROUP BY part, row_hash
        ) GROUP BY part ORDER BY part
        """,
        values,
    )
    return [BatchChange(batch, int(added), int(removed)) for batch, added, removed in rows if added or removed]
