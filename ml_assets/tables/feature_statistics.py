"""What the features of each batch look like, and which of them are broken: without values, constant, or far from usual.

A row for each batch and feature, written with the features. Usual is what the
batches have that the champion was fitted on; for those themselves, and before there is a champion, the batches before.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import duckdb

from ml_assets.lake.data_files import MOST_FILES
from ml_assets.lake.lake import Lake, Put
from ml_assets.lake.sql import identifier
from ml_assets.spec import PipelineSpec
from ml_assets.tables import remembered, versions
from ml_assets.tables.data import FEATURES
from ml_assets.tables.table import Column, Table

FEATURE_STATISTICS = Table(
    "feature_statistics",
    "What a feature looks like in a batch.",
    (
        Column("batch", "VARCHAR", "The batch."),
        Column("feature", "VARCHAR", "The feature."),
        Column("rows", "BIGINT", "Rows of the batch."),
        Column("missing", "BIGINT", "Rows without a value; NaN counts as none."),
        Column("only_value", "VARCHAR", "Its value, where all rows that have any have the same one."),
    ),
    written_by="asset features",
    key=("batch", "feature"),
)
FLOATS = ("FLOAT", "DOUBLE")
COMPARED = 12  # batches, at most, that say what is usual
FEWEST = 3  # batches that tell how far shares of missing values usually differ
FAR = 0.1  # in shares of missing values, beside five times what batches usually differ by
EXISTS = 0.9  # a feature that is usually missing more often may come and go
Row = Mapping[str, Any]
BY_CHANCE = 1e-6  # a rare value may be in no row of a small batch


@dataclass(frozen=True)
class UnusualFeature:
    """A feature of a batch that is not as usual.

    Args:
        batch: The batch.
        feature: The feature.
        missing: Share of its rows without a value.
        usual: The same of the batches that it is compared with, in the median.
        since: The first of the batches in a row that are like that.
        only_value: Its one value, where that is what is wrong.
    """

    batch: str
    feature: str
    missing: float
    usual: float
    since: str
    only_value: str | None = None

    def __str__(self) -> str:
        since = f"since batch {self.since}"
        if self.only_value is not None:
            return f"{self.feature} is {self.only_value!r} in every row, usually it varies ({since})"
        return f"{self.feature} is missing in {self.missing:.0%} of the rows, usually in {self.usual:.0%} ({since})"


@dataclass(frozen=True)
class Rules:
    """Whose features count: batches with fewer rows and ignored features get no verdict."""

    min_rows: int
    ignored: frozenset[str] = frozenset()


def rules_of(spec: PipelineSpec) -> Rules:
    """As for drift: `monitoring.min_rows`, and `monitoring.columns` with `ignore`."""
    watched = spec.monitoring
    return Rules(watched.min_rows, frozenset(name for name, rule in watched.columns.items() if rule.ignore))


def describe(
    con: duckdb.DuckDBPyConnection, relation: str, features: Mapping[str, str], batch: str
) -> list[dict[str, Any]]:
    """A row of `FEATURE_STATISTICS` for each feature.

    Args:
        con: Connection that sees the relation.
        relation: The batch's features.
        features: Feature -> SQL type.
        batch: The batch.
    """
    values = {
        name: f"nullif({identifier(name)}, 'nan'::{kind})" if kind in FLOATS else identifier(name)
        for name, kind in features.items()
    }
    counts = [f"count({v}), CASE WHEN min({v}) = max({v}) THEN min({v})::VARCHAR END" for v in values.values()]
    rows, *found = con.execute(f"SELECT count(*), {', '.join(counts)} FROM {relation}").fetchall()[0]
    return [
        {"batch": batch, "feature": name, "rows": rows, "missing": rows - filled, "only_value": value}
        for name, filled, value in zip(features, found[::2], found[1::2], strict=True)
    ]


def put(lake: Lake, pipeline: str, rows: Sequence[Mapping[str, Any]], batch: str) -> Put:
    """The write of a batch's statistics."""
    return FEATURE_STATISTICS.put(pipeline, lake.values(FEATURE_STATISTICS.types, rows), batch)


def broken(lake: Lake, pipeline: str, batches: Sequence[str], rules: Rules) -> list[UnusualFeature]:
    """The broken features of batches, in their order; none where nothing says what is usual."""
    name = FEATURE_STATISTICS.of(pipeline)
    if not batches or not lake.exists(name):
        return []
    names = lake.batches(name)
    champion = versions.alias(lake, pipeline, "champion")
    there, trained = {*names}, {*champion.train_batches} if champion else set()
    fitted = [name for name in champion.train_batches if name in there][-COMPARED:] if champion else []
    sides: dict[str, tuple[list[str], list[str]]] = {}
    for batch in sorted({*batches} & there):
        end = bisect_left(names, batch)
        earlier = names[max(end - COMPARED, 0) : end]
        sides[batch] = earlier, earlier if batch in trained or not fitted else fitted
    kept = _read(lake, pipeline, {*sides, *(name for two in sides.values() for side in two for name in side)}, rules)
    found: list[UnusualFeature] = []
    for batch, (earlier, usual) in sides.items():
        for feature, row in kept.get(batch, {}).items():
            if feature not in rules.ignored:
                before, compared = (_of(feature, [kept.get(name, {}) for name in side]) for side in (earlier, usual))
                one = _broken(lake, pipeline, row, before, compared)
                found += [one] if one else []
    return sorted(found, key=lambda one: (one.batch, one.feature))


def _read(lake: Lake, pipeline: str, batches: Collection[str], rules: Rules) -> dict[str, dict[str, Row]]:
    """Batch -> feature -> its statistics, of batches with enough rows."""
    sql = "SELECT * FROM {t}"
    if len(batches) <= MOST_FILES:
        rows = FEATURE_STATISTICS.query(lake, pipeline, sql, batches=sorted(batches))
    else:
        rows = remembered.rows(lake, FEATURE_STATISTICS, pipeline, sql)
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["rows"] >= rules.min_rows and row["batch"] in batches:
            found.setdefault(row["batch"], {})[row["feature"]] = row
    return found


def _of(feature: str, batches: Sequence[Mapping[str, Row]]) -> list[Row]:
    return [features[feature] for features in batches if feature in features]


def _broken(
    lake: Lake, pipeline: str, row: Row, earlier: Sequence[Row], compared: Sequence[Row]
) -> UnusualFeature | None:
    fault = _fault(lake, pipeline, row, compared) if compared else None
    if fault is None:
        return None
    since = row["batch"]
    for one in reversed(earlier):
        if _fault(lake, pipeline, one, compared) != fault:
            break
        since = one["batch"]
    only = row["only_value"] if fault == "constant" else None
    return UnusualFeature(row["batch"], row["feature"], _missing(row), median(map(_missing, compared)), since, only)


def _missing(row: Row) -> float:
    return float(row["missing"] / row["rows"])


def _fault(lake: Lake, pipeline: str, row: Row, compared: Sequence[Row]) -> str | None:
    """`missing`, `filled` or `constant`: in which way a feature of a batch is not as usual."""
    now, shares = _missing(row), [_missing(one) for one in compared]
    usual = median(shares)
    if usual >= EXISTS:
        return None
    spread = median(abs(share - usual) for share in shares)
    by_chance = 3 * math.sqrt(usual * (1 - usual) / row["rows"])
    is_far = len(compared) >= FEWEST and abs(now - usual) > max(FAR, 5 * spread) + by_chance
    if now == 1 or is_far:
        return "missing" if now > usual else "filled"
    return "constant" if _is_stuck(lake, pipeline, row, compared) else None


def _is_stuck(lake: Lake, pipeline: str, row: Row, compared: Sequence[Row]) -> bool:
    """Has the feature one value in all rows, where it usually varies, and not by chance?"""
    value, there = row["only_value"], row["rows"] - row["missing"]
    if value is None or sum(one["only_value"] is not None for one in compared) * 2 >= len(compared):
        return False  # as the month, where a batch is a month
    name, rows = identifier(row["feature"]), lake.relation(FEATURES.of(pipeline), [one["batch"] for one in compared])
    ((share,),) = lake.con.execute(
        f"SELECT avg(({name}::VARCHAR = ?)::INT) FROM {rows} WHERE {name} IS NOT NULL",
        [value],
    ).fetchall()
    return share is not None and float(share) ** there < BY_CHANCE
