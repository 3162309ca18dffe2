"""What only the rows themselves can tell: columns that identify a row, and columns that give the target away."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import duckdb

from ml_assets.lake.sql import identifier, identifiers
from ml_assets.scaffold.suggest import Suggestion, TargetSuggestion
from ml_assets.scaffold.texts import Style

ID_NAME = re.compile(
    r"(^|_)(id|key|uuid|guid|nr|no|number|index)$|(?<=[a-z])(ID|Id)$|^(unnamed:?_?\s?0|column0+)$", re.I
)
MOST_KEY_COLUMNS = 3
LOOKED_AT = 20_000
TELLING = {"binary": 0.98, "multiclass": 0.97, "regression": 0.95}
AFTERWARDS = frozenset(
    ("after", "outcome", "result", "actual", "final", "ended", "closed", "resolved", "cancelled", "settled", "returned")
)


def keys(con: duckdb.DuckDBPyConnection, relation: str, columns: Iterable[Suggestion]) -> list[list[str]]:
    """The smallest combinations of columns, of at most three, that are complete and unique in each batch.

    Whole numbers, texts and times can be a key; measured numbers and flags cannot.

    Args:
        con: Connection.
        relation: All rows, with `batch`.
        columns: Columns to try.
    """
    could = [one for one in columns if not one.nullable and one.type in ("integer", "string", "date", "timestamp")]
    tried = sorted(could, key=lambda one: (not is_id_name(one.name), -one.distinct))[:10]
    sizes = f"SELECT max(n) FROM (SELECT count(*) AS n FROM {relation} GROUP BY batch)"
    most = int(con.execute(sizes).fetchall()[0][0])
    for size in range(1, MOST_KEY_COLUMNS + 1):
        # Half: the number of different values may be an estimate.
        enough = [some for some in combinations(tried, size) if math.prod(one.distinct for one in some) >= most / 2]
        found = [names for some in enough if _unique(con, relation, names := [one.name for one in some])]
        if found:
            return found
    return []


def _unique(con: duckdb.DuckDBPyConnection, relation: str, names: Sequence[str]) -> bool:
    sql = f"""SELECT (SELECT count(*) FROM {relation}) =
        (SELECT count(*) FROM (SELECT DISTINCT batch, {identifiers(list(names))} FROM {relation}))"""
    return bool(con.execute(sql).fetchall()[0][0])


def is_id_name(name: str) -> bool:
    """Does the name say that the column identifies a row?"""
    return bool(ID_NAME.search(name))


def is_counter(con: duckdb.DuckDBPyConnection, relation: str, name: str) -> bool:
    """Is it 1, 2, 3, ... without a gap, in any order?"""
    sql = f"SELECT max({identifier(name)}) - min({identifier(name)}) + 1 = count(*) FROM {relation}"
    return bool(con.execute(sql).fetchall()[0][0])


def suspects(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    columns: Iterable[Suggestion],
    made: TargetSuggestion,
    styles: Mapping[str, Style],
) -> dict[str, str]:
    """Columns that may be known only after the event -> why it looks so.

    Three hints: alone it tells the target nearly perfectly (of at most 20,000 rows, in bins of equal size); it is
    missing where the target is missing; its name says so.

    Args:
        con: Connection.
        relation: All rows, with `row_id`.
        columns: Columns to look at, without the target.
        made: The target.
        styles: Text columns that are numbers or dates -> how they are read.
    """
    looked = f"""(SELECT *, ({made.sql}) AS __label FROM {relation} WHERE ({made.sql}) IS NOT NULL
        ORDER BY hash(row_id) LIMIT {LOOKED_AT})"""
    read = ", ".join(f"{styles[name].sql(identifier(name))} AS {identifier(name)}" for name in styles)
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE looked_at AS SELECT * {f'REPLACE ({read})' if read else ''} FROM {looked}"
    )
    rows = int(con.execute("SELECT count(*) FROM looked_at").fetchall()[0][0])
    found = {}
    for column in columns:
        reasons = []
        as_read = replace(column, type=styles[column.name].word) if column.name in styles else column
        score = telling(con, "looked_at", as_read, made.kind, rows)
        if score >= TELLING[made.kind]:
            reasons.append(f"alone it tells the target ({MEASURE[made.kind]} {score:.3f})")
        if column.nullable and _missing_together(con, relation, column.name, made.sql):
            reasons.append("missing where the target is missing")
        if set(_words(column.name)) & AFTERWARDS:
            reasons.append("its name says so")
        if reasons:
            found[column.name] = "; ".join(reasons)
    return found


MEASURE = {"binary": "ROC AUC", "multiclass": "accuracy", "regression": "R²"}


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())


def _missing_together(con: duckdb.DuckDBPyConnection, relation: str, name: str, label: str) -> bool:
    """Half of the rows without a target lack it, and hardly any other row does; of 20 rows or more."""
    column = identifier(name)
    unknown, both, known, alone = con.execute(
        f"""SELECT count(*) FILTER (({label}) IS NULL), count(*) FILTER (({label}) IS NULL AND {column} IS NULL),
            count({label}), count(*) FILTER (({label}) IS NOT NULL AND {column} IS NULL) FROM {relation}"""
    ).fetchall()[0]
    return bool(unknown >= 20 and both >= 0.5 * unknown and alone <= 0.02 * known)


def telling(con: duckdb.DuckDBPyConnection, relation: str, column: Suggestion, kind: str, rows: int) -> float:
    """How well a column alone tells `__label`: ROC AUC (binary), accuracy (multiclass), share of variance (regression).

    Numbers and times are cut into at most 50 bins of equal size with 30 rows or more; text with many values scores 0.
    """
    c = identifier(column.name)
    bins = max(2, min(50, rows // 30))
    if column.type in ("string", "boolean"):
        if column.distinct > bins:
            return 0.0
        place = f"CAST({c} AS VARCHAR)"
    else:
        place = (
            f"CASE WHEN {c} IS NOT NULL THEN least(floor({bins} * percent_rank() OVER (ORDER BY {c})), {bins - 1}) END"
        )
    binned = f"(SELECT {place} AS bin, __label FROM {relation})"
    if kind == "multiclass":
        sql = f"""SELECT sum(most) FROM (SELECT bin, max(n) AS most FROM
            (SELECT bin, __label, count(*) AS n FROM {binned} GROUP BY ALL) GROUP BY bin)"""
        return float(con.execute(sql).fetchall()[0][0] or 0) / max(rows, 1)
    sql = f"SELECT count(*), sum(__label::DOUBLE), sum(__label::DOUBLE ** 2) FROM {binned} GROUP BY bin"
    groups = con.execute(sql).fetchall()
    return _auc(groups) if kind == "binary" else _explained(groups)


def _auc(groups: Sequence[tuple[int, float, float]]) -> float:
    """ROC AUC of the bins' own rates."""
    ordered = sorted(((ones / count, ones, count - ones) for count, ones, _ in groups))
    positives, negatives = sum(g[1] for g in ordered), sum(g[2] for g in ordered)
    below = area = 0.0
    for _, ones, zeros in ordered:
        area += ones * (below + zeros / 2)
        below += zeros
    return area / (positives * negatives) if positives and negatives else 0.0


def _explained(groups: Sequence[tuple[int, float, float]]) -> float:
    """Share of the variance that lies between the bins."""
    rows, total, squares = (sum(group[i] for group in groups) for i in range(3))
    spread = squares - total**2 / rows if rows else 0.0
    between = sum(total_**2 / count for count, total_, _ in groups) - (total**2 / rows if rows else 0)
    return between / spread if spread > 0 else 0.0


def class_counts(con: duckdb.DuckDBPyConnection, relation: str, label: str) -> dict[str, dict[Any, int]]:
    """Batch -> label -> rows, of rows with a label."""
    found: dict[str, dict[Any, int]] = {}
    sql = f"SELECT batch, ({label}) AS __label, count(*) FROM {relation} WHERE __label IS NOT NULL GROUP BY ALL"
    for batch, value, count in con.execute(sql).fetchall():
        found.setdefault(batch, {})[value] = count
    return found
