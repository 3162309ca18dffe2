"""Both features engines of a release side by side: does SQLite compute what DuckDB does, bit for bit?

Rows of the training set must have identical features. Rows with missing, unknown and extreme values must, too, or must
be refused on SQLite: such a request gets an error instead of features that DuckDB computes, never others.
"""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_assets.errors import FeatureError, ServingError
from ml_assets.ml.bundle import Schema
from ml_assets.ml.release import ServingFacts
from ml_assets.server.features import Columns, Features
from ml_assets.server.features_sqlite import NotHeld, SqliteFeatures
from ml_assets.server.requests import RowRefused

CHUNK, TIMED, HARD, BASES = 1000, 50, 1000, 3
SLOW_MS = 1.0  # DuckDB takes about this much for a row, whatever the SELECT
MIDNIGHT = dt.time()
DAYS = (dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(2024, 2, 29), dt.date(9999, 12, 31))
EXTREMES: dict[str, tuple[Any, ...]] = {
    "string": ("", "no such key", " A b ", "Éßİ", "%_\\", "12", "a\0b", "x" * 1000),
    "integer": (0, 1, -1, 7, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63)),
    "number": (0.0, -0.0, 0.5, -2.5, 1e-9, 2.0**53, 1e18, 1e300, -1e300, 5e-324),
    "boolean": (True, False),
    "date": DAYS,
    "timestamp": (
        *(dt.datetime.combine(day, MIDNIGHT) for day in DAYS),
        dt.datetime(2000, 12, 31, 23, 59, 59, 999_999),
        dt.datetime(1969, 12, 31, 23, 59, 59, 500_000),
    ),
}
REFUSED = "refused"


def difference(folder: Path, facts: ServingFacts, schema: Schema, rows: Columns, count: int) -> str:
    """Why SQLite must not compute the release's features; empty where it computes the same.

    Args:
        folder: The release, with the SELECT for SQLite.
        facts: What it says about itself.
        schema: The bundle's schema.
        rows: Rows of the training set as a request has them.
        count: How many.
    """
    try:
        sqlite = SqliteFeatures(folder, facts, schema)
    except (NotHeld, ServingError) as error:
        return str(error)
    duckdb = Features(folder, facts, schema)
    try:
        return _slow(sqlite, rows, count) or _unlike(sqlite, duckdb, rows, count) or _hard(sqlite, duckdb, schema, rows)
    finally:
        sqlite.close()
        duckdb.close()


def _slow(sqlite: SqliteFeatures, rows: Columns, count: int) -> str:
    timed = min(count, TIMED)
    before = time.thread_time()
    for number in range(timed):
        _outcome(sqlite, _part(rows, number, number + 1), 1)
        taken = 1000 * (time.thread_time() - before) / (number + 1)
        if taken > 20 * SLOW_MS or (number + 1 == timed and taken > SLOW_MS):
            return f"a row takes {taken:.1f} ms on SQLite"
    return ""


def _unlike(sqlite: SqliteFeatures, duckdb: Features, rows: Columns, count: int) -> str:
    """The first difference on some rows."""
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        part = _part(rows, start, start + size)
        ours, theirs = (_outcome(engine, part, size) for engine in (sqlite, duckdb))
        if isinstance(ours, str) or repr(ours) != repr(theirs):  # floats to the last bit, and -0.0 is not 0.0
            alone = (_of_row(sqlite, duckdb, _part(part, row, row + 1)) for row in range(size))
            unlike = next(filter(None, alone), "")
            if unlike or ours != theirs:
                return unlike or "rows together have other features than alone"
    return ""


def _hard(sqlite: SqliteFeatures, duckdb: Features, schema: Schema, rows: Columns) -> str:
    """The first difference on rows with missing, unknown and extreme values, but for those that SQLite refuses."""
    hard = itertools.islice(hard_rows(schema, rows), HARD)
    answered = [row for row in hard if _outcome(sqlite, row, 1) != REFUSED]
    together = {name: [row[name][0] for row in answered] for name in schema.columns}
    return _unlike(sqlite, duckdb, together, len(answered))


def hard_rows(schema: Schema, rows: Columns) -> Iterator[dict[str, list[Any]]]:
    """Rows of a training set, each with one value replaced, or all that may be missing left out."""
    count = len(next(iter(rows.values()), []))
    for base in range(min(count, BASES)):
        row = _part(rows, base, base + 1)
        yield {name: [None] if name in schema.nullable else value for name, value in row.items()}
        for name, word in schema.columns.items():
            for value in (*([None] if name in schema.nullable else []), *EXTREMES[word]):
                yield {**row, name: [value]}


def _of_row(sqlite: SqliteFeatures, duckdb: Features, row: Columns) -> str:
    ours, theirs = (_outcome(engine, row, 1) for engine in (sqlite, duckdb))
    if repr(ours) == repr(theirs):
        return ""
    if isinstance(ours, str) or isinstance(theirs, str):
        return f"SQLite {_said(ours)} where DuckDB {_said(theirs)}: {_shown(row)}"
    name = next(name for name in theirs if repr(ours[name]) != repr(theirs[name]))
    return f"{name} is {ours[name][0]!r} on SQLite and {theirs[name][0]!r} on DuckDB: {_shown(row)}"


def _said(outcome: dict[str, list[Any]] | str) -> str:
    return "refuses a row" if outcome == REFUSED else "gives not one row" if isinstance(outcome, str) else "answers"


def _shown(row: Columns) -> str:
    text = ", ".join(f"{name}={str(values[0])[:30]}" for name, values in row.items())
    return text if len(text) < 400 else f"{text[:400]} ..."


def _outcome(engine: SqliteFeatures | Features, rows: Columns, count: int) -> dict[str, list[Any]] | str:
    try:
        return engine.of(rows, count)
    except RowRefused:
        return REFUSED
    except FeatureError:
        return "not one row"


def _part(rows: Columns, start: int, end: int) -> dict[str, Any]:
    return {name: values[start:end] for name, values in rows.items()}
