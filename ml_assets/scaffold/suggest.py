"""Columns and a target, suggested from statistics (rows of `store.statistics`): pure functions, no data, no Dagster."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import duckdb

from ml_assets.errors import SpecError
from ml_assets.lake.database import scratch
from ml_assets.lake.sql import identifier, literal
from ml_assets.metrics import Kind
from ml_assets.tables.statistics import TOP

Row = Mapping[str, Any]

MOST_CLASSES = 50  # of text; more is a name, not a class
MOST_INTEGER_CLASSES = 20  # more is an amount
MOST_ALLOWED = 20  # values of a list
FEWEST_SEEN = 5  # a value seen less often hints at others that were not seen yet
YES = ("true", "t", "yes", "y", "positive", "pos")
FEWEST_PARTS = 4  # of which ends may show that a column moves on
CODES = {r"\d": r"[0-9]+", "[A-Z]": r"[A-Z]+", "[a-z]": r"[a-z]+", "[A-Z0-9]": r"[A-Z0-9]+"}


@dataclass(frozen=True)
class Suggestion:
    """One column as the YAML could declare it.

    Args:
        seen: What was seen of it, for a comment.
        distinct: Different values; of statistics of several batches the most in one.
    """

    name: str
    type: str
    nullable: bool
    min: int | float | None
    max: int | float | None
    allowed: list[str] | None
    regex: str | None
    seen: str
    distinct: int

    def keys(self) -> dict[str, Any]:
        """Its keys in the YAML, in the YAML's order."""
        keys: dict[str, Any] = {"name": self.name, "type": self.type, "nullable": self.nullable or None}
        keys |= {"min": self.min, "max": self.max, "allowed": self.allowed, "regex": self.regex}
        return {key: value for key, value in keys.items() if value is not None}


@dataclass(frozen=True)
class TargetSuggestion:
    """A target as the YAML could declare it.

    Args:
        classes: Class -> rows seen; None for a regression.
        note: What a person could turn round.
        is_open: Whether the SQL is still to be written by a person.
    """

    sql: str
    kind: Kind
    classes: dict[str, int] | None
    note: str
    is_open: bool = False


def suggest_columns(
    rows: Iterable[Row], unbounded: Collection[str] = (), distinct: Mapping[str, int] | None = None, exact: bool = False
) -> list[Suggestion]:
    """A suggestion for each column that has statistics.

    Args:
        rows: Statistics of batches, or of parts of one, in order.
        unbounded: Columns that get no constraint on values, such as identifiers that go on growing.
        distinct: Column -> different values in all rows, where that is known.
        exact: Whether these were counted exactly.
    """
    by_column: dict[str, list[Row]] = {}
    for row in rows:
        by_column.setdefault(row["column_name"], []).append(row)
    return [
        _suggestion(name, of_column, name in unbounded, (distinct or {}).get(name), exact)
        for name, of_column in by_column.items()
    ]


def _suggestion(name: str, rows: Sequence[Row], unbounded: bool, known: int | None, exact: bool) -> Suggestion:
    word = type_word(rows[-1]["sql_type"])
    total, missing = sum(row["row_count"] for row in rows), sum(row["null_count"] for row in rows)
    counts, complete = frequent(rows)
    distinct, different = _different(rows, counts, complete, known, exact)
    low = high = allowed = regex = None
    seen = [_missing(rows, total, missing)] if missing else []
    if word in ("integer", "number"):
        limits = _limits(rows)
        if limits is not None:
            seen.append(f"{limits[0]:g} to {limits[1]:g}")
            if not unbounded:
                low, high = _lasting_limits(rows, word == "integer")
    elif word == "string" and counts:
        seen.append(different)
        if not unbounded and complete and _are_all_there_will_be(rows, counts):
            allowed = sorted(counts)
        elif not unbounded and not (complete and len(counts) <= MOST_ALLOWED):
            regex = code_pattern([*counts, *(row[end] for row in rows for end in ("min_value", "max_value"))])
    elif word in ("date", "timestamp"):
        starts = [row["min_value"] for row in rows if row["min_value"]]
        seen += [f"{min(starts)} to {max(r['max_value'] for r in rows if r['max_value'])}"] if starts else []
    return Suggestion(name, word, missing > 0, low, high, allowed, regex, ", ".join(seen), distinct)


def _missing(rows: Sequence[Row], total: int, missing: int) -> str:
    share = f"{missing / total:.1%} missing".replace("%", " %")
    batches = [row.get("batch", number) for number, row in enumerate(rows)]
    if None in batches or len(set(batches)) == 1:
        return share
    having = {batch for batch, row in zip(batches, rows, strict=True) if row["null_count"]}
    return f"{share}, in {len(having)} of {len(set(batches))} batches"


def _different(
    rows: Sequence[Row], counts: Mapping[str, int], complete: bool, known: int | None, exact: bool
) -> tuple[int, str]:
    """How many different values there are, and as a text that says what was counted."""
    if complete:
        return len(counts), f"{len(counts):,} different"
    if known is not None:
        return known, f"{'' if exact else 'about '}{known:,} different"
    most = max(min(row["distinct_count"] or 0, row["row_count"]) for row in rows)  # the count is an estimate
    return most, f"about {most:,} different" + (" in one batch" if len(rows) > 1 else "")


def _lasting_limits(rows: Sequence[Row], whole: bool) -> tuple[int | float | None, int | float | None]:
    """Limits of all rows that those of the first half, and of each longer beginning, would have kept for the next part.

    None for a column that moves on with the files, such as a year, and for a flag that was one thing first and then
    another: what comes next is not among what was seen.
    """
    ends = [found for row in rows if (found := _limits([row])) is not None]
    if not ends:
        return None, None
    lows, highs = [low for low, _ in ends], [high for _, high in ends]
    low, high = min(lows), max(highs)
    if low == high or max(abs(low), abs(high)) >= 1e15 or _moves_on(lows, highs):  # a float is no exact whole number
        return None, None
    if whole and low == 0 and high == 1:
        both = sum(one == (0, 1) for one in ends)
        return (0, 1) if both >= 2 or len(rows) == 1 else (None, None)
    first, last = outward(low, high, whole)
    kept = [outward(min(lows[:n]), max(highs[:n]), whole) for n in range(max(len(ends) // 2, 1), len(ends))]
    later = range(len(ends) - len(kept), len(ends))
    return (
        first if all(lows[n] >= limits[0] for n, limits in zip(later, kept, strict=True)) else None,
        last if all(highs[n] <= limits[1] for n, limits in zip(later, kept, strict=True)) else None,
    )


def _moves_on(lows: Sequence[float], highs: Sequence[float]) -> bool:
    """Do both ends go up, or both down, from part to part?"""
    if len(lows) < FEWEST_PARTS or lows[0] == lows[-1] or highs[0] == highs[-1]:
        return False
    up = sorted(lows) == list(lows) and sorted(highs) == list(highs)
    return up or (sorted(lows)[::-1] == list(lows) and sorted(highs)[::-1] == list(highs))


def _are_all_there_will_be(rows: Sequence[Row], counts: Mapping[str, int]) -> bool:
    """Are a column's texts few and frequent, and did the later rows bring none that the first half has not?"""
    if (
        not 2 <= len(counts) <= MOST_ALLOWED
        or min(counts.values()) < FEWEST_SEEN
        or not all(map(str.isprintable, counts))
    ):
        return False
    half = max(len(rows) // 2, 1)
    return {one["value"] for row in rows[:half] for one in row["top_values"] or ()} == set(counts)


def type_word(sql_type: str) -> str:
    """The YAML's word for a SQL type."""
    if "INT" in sql_type:
        return "integer"
    if sql_type in ("FLOAT", "DOUBLE") or sql_type.startswith("DECIMAL"):
        return "number"
    if sql_type.startswith("TIMESTAMP"):
        return "timestamp"
    return {"BOOLEAN": "boolean", "DATE": "date"}.get(sql_type, "string")


def frequent(rows: Iterable[Row]) -> tuple[dict[str, int], bool]:
    """Value -> rows of one column, most first, over all batches, and whether these are all values that there are."""
    counts: dict[str, int] = {}
    complete = True
    for row in rows:
        values = row["top_values"]
        # The approximate count is close where it is small; a sample may lack the rarest value.
        exact = row["row_count"] <= row["sampled_rows"] or (row["distinct_count"] or 0) <= len(values or ())
        complete &= values is not None and (row.get("whole", False) or (len(values) < TOP and exact))
        for one in values or ():
            counts[one["value"]] = counts.get(one["value"], 0) + one["count"]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))), complete


def _limits(rows: Iterable[Row]) -> tuple[float, float] | None:
    ends = [float(row[end]) for row in rows for end in ("min_value", "max_value") if row[end] is not None]
    return (min(ends), max(ends)) if ends and all(map(math.isfinite, ends)) else None


def outward(low: float, high: float, whole: bool) -> tuple[int | float, int | float]:
    """Limits that tomorrow's file will keep too.

    Half of the range seen is added on both sides, at least a tenth of the greatest value, but nothing across zero;
    then both are rounded outward to two digits. 17 to 4983 gives 0 and 7500.
    """
    margin = max((high - low) / 2, max(abs(low), abs(high)) / 10)
    widened = (
        max(low - margin, 0.0) if low >= 0 else low - margin,
        min(high + margin, 0.0) if high <= 0 else high + margin,
    )
    first, last = (_two_digits(end, up) for end, up in zip(widened, (False, True), strict=True))
    if whole:
        return math.floor(first), math.ceil(last)
    return first, last


def _two_digits(value: float, up: bool) -> int | float:
    if value == 0:
        return 0
    digits = 1 - math.floor(math.log10(abs(value)))
    scaled = round(value * 10.0**digits, 9)
    rounded = (math.ceil if up else math.floor)(scaled)
    found = round(rounded / 10.0**digits, max(digits, 0)) if digits <= 300 else value
    return int(found) if found == int(found) and abs(found) < 1e15 else found


def code_pattern(values: Sequence[str | None]) -> str | None:
    """`[A-Z]{3}` where ten or more values all have 2 to 12 characters of one kind, else None."""
    codes = {value for value in values if value is not None}
    lengths = {len(value) for value in codes}
    if len(codes) < 10 or len(lengths) != 1 or not 2 <= max(lengths) <= 12:
        return None
    for kind, pattern in CODES.items():
        if all(re.fullmatch(pattern, value) for value in codes):
            return f"{kind}{{{max(lengths)}}}"
    return None


def suggest_target(rows: Sequence[Row], column: str) -> TargetSuggestion:
    """Kind and SQL of a target that is a column.

    Two values are binary, few whole numbers and texts are classes, other numbers are a regression. Of a date, or of too
    many texts, a person has to say what is predicted.

    Args:
        rows: Statistics of this column over all rows.
        column: Its name.

    Raises:
        SpecError: It has no value, or one value.
    """
    where = {"target": column}
    word = type_word(rows[-1]["sql_type"])
    counts, complete = frequent(rows)
    if all(row["null_count"] == row["row_count"] for row in rows):
        raise SpecError("The target has no value in any row.", where=where, fix="Choose another --target.")
    if complete and len(counts) == 1:
        raise SpecError(
            "The target has one value only: there is nothing to predict.",
            found=f"{next(iter(counts))!r} in every row",
            where=where,
            fix="Choose another --target, or add files with the other outcomes.",
        )
    sql = column_sql(column)
    if word in ("date", "timestamp"):
        return open_date(sql)
    numbers = word in ("integer", "number")
    whole = numbers and complete and all(float(value).is_integer() for value in counts)
    if complete and len(counts) == 2 and (whole or not numbers):
        return _binary(sql, word, counts)
    if whole and len(counts) <= MOST_INTEGER_CLASSES and _like_classes(counts):
        note = f"{len(counts)} whole numbers are taken as classes; kind: regression takes them as amounts"
        return TargetSuggestion(f"CAST({sql} AS BIGINT)" if word == "number" else sql, "multiclass", counts, note)
    if numbers:
        return TargetSuggestion(sql, "regression", None, "")
    distinct = len(counts) if complete else max(row["distinct_count"] for row in rows)
    if distinct > MOST_CLASSES:
        why = f"{column} has {distinct:,} different texts, and more than {MOST_CLASSES} are no classes"
        return TargetSuggestion(
            f"TODO: a predicate such as {sql} = {literal(next(iter(counts), ''))}", "binary", None, why, True
        )
    return TargetSuggestion(sql, "multiclass", counts, "")


def open_date(sql: str) -> TargetSuggestion:
    """The target of a date: what of it is predicted is for a person to say."""
    days = f"TODO: a number such as date_diff('day', DATE '2024-01-01', {sql})"
    return TargetSuggestion(days, "regression", None, "a date cannot be predicted itself, a number of days can", True)


def _like_classes(counts: Mapping[str, int]) -> bool:
    """Classes repeat; amounts that happen to be whole do not."""
    return sum(counts.values()) >= 5 * len(counts)


def _binary(sql: str, word: str, counts: dict[str, int]) -> TargetSuggestion:
    if word == "boolean" or {float(value) for value in counts if word in ("integer", "number")} == {0.0, 1.0}:
        return TargetSuggestion(sql, "binary", counts, "")
    said = [value for value in counts if value.lower() in YES]
    positive = said[0] if len(said) == 1 else max(counts, key=float) if word != "string" else list(counts)[-1]
    other = next(value for value in counts if value != positive)
    yes, no = (literal(value) if word == "string" else f"{float(value):g}" for value in (positive, other))
    note = f"{positive} is the positive class; {sql} = {no} reverses it"
    return TargetSuggestion(f"{sql} = {yes}", "binary", counts, note)


def column_sql(name: str) -> str:
    """A column in SQL, quoted only where it must be."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) and name.lower() not in _keywords() else identifier(name)


@cache
def _keywords() -> set[str]:
    with scratch() as con:
        rows = con.execute(
            "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category != 'unreserved'"
        ).fetchall()
    return {row[0] for row in rows} | {"at"}  # reserved in SQL over DuckLake


def holds(con: duckdb.DuckDBPyConnection, relation: str, suggestion: Suggestion) -> Suggestion:
    """The suggestion without allowed values and regex where a row breaks them: statistics may not show every value."""
    column = identifier(suggestion.name)
    for kept, fits in (
        (suggestion.allowed, f"list_contains($value, {column})"),
        (suggestion.regex, f"regexp_full_match({column}, $value)"),
    ):
        sql = f"SELECT 1 FROM {relation} WHERE NOT {fits} LIMIT 1"
        if kept is not None and con.execute(sql, {"value": kept}).fetchall():
            return replace(suggestion, allowed=None, regex=None)
    return suggestion
