"""How a value of a file becomes a value of its declared type: one table, by what the file holds and what is declared.

A cast changes no value in silence. What cannot be read exactly is doubtful: it becomes NULL, and whoever reads keeps
its text. DuckDB's own casts round 1.7 to 2, drop a UTC offset, cut a time, and read `1_000`, `1e400` and `epoch`.
A timestamp is UTC and kept to the microsecond; NaN is a missing value; infinity is a number (a rule refuses it).
"""

from __future__ import annotations

from dataclasses import dataclass

from ml_assets.sources.formats import SQL_TYPES

TEXT = "VARCHAR"
WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
# Python and pandas know no other years.
IN_RANGE = "BETWEEN TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999'"
# The offset of a text such as 2024-01-01T10:00:00+02:00; a cast to TIMESTAMP drops it.
ZONED = "timezone('UTC', TRY_CAST({x} AS TIMESTAMPTZ))"
TIME_OF_TEXT = (
    "CASE WHEN contains(substr({x}, 11), '+') OR contains(substr({x}, 11), '-') THEN " + ZONED + " "
    "WHEN lower({x}) != 'epoch' THEN coalesce(TRY_CAST({x} AS TIMESTAMP), " + ZONED + ") END"
)
# Beyond 15 digits a DOUBLE cannot tell 9007199254740993.5 from its neighbour. CASE, not OR: DuckDB computes each side
# of an OR for every row, and a cast to DECIMAL takes 100 times as long as one to DOUBLE.
EXACT_TEXT = """TRY_CAST({x} AS DOUBLE) = CAST({v} AS DOUBLE) AND NOT contains({x}, '_')
    AND CASE WHEN {v} NOT BETWEEN -1000000000000000 AND 1000000000000000 AND regexp_matches({x}, '[.eE]')
        THEN TRY_CAST({x} AS DECIMAL(38, 9)) = {v} ELSE true END"""
FINITE_TEXT = "NOT contains({x}, '_') AND (isfinite({v}) OR isnan({v}) OR contains(lower({x}), 'inf'))"


@dataclass(frozen=True)
class Cast:
    """How one kind of value is read as one type.

    Args:
        value: SQL of the value, NULL where it cannot be read; {x} is the value as it is in the file.
        holds: SQL of what must hold for it, beside that the value is not NULL; {v} is the value. None: nothing else.
        is_sure: Every value can be read.
        missing: SQL of what else than NULL is a missing value.
    """

    value: str
    holds: str | None = None
    is_sure: bool = False
    missing: str | None = None


def _cut(time: str) -> Cast:
    """A date from a time of day: midnight only, anything else would be cut."""
    return Cast(f"CAST({time} AS DATE)", f"({time}) = CAST({{v}} AS TIMESTAMP) AND {{v}} {IN_RANGE}")


NUMBER = Cast("CAST({x} AS DOUBLE)", is_sure=True)
FLAG = Cast("TRY_CAST({x} AS BOOLEAN)", "{x} IN (0, 1)")
TIME = Cast("TRY_CAST({x} AS TIMESTAMP)", f"{{v}} {IN_RANGE}")
# (what the file holds, what is declared) -> how it is read; whatever is not here by TRY_CAST, NULL where that fails.
CASTS = {
    ("text", "integer"): Cast("TRY_CAST({x} AS BIGINT)", EXACT_TEXT),
    ("text", "number"): Cast("TRY_CAST({x} AS DOUBLE)", FINITE_TEXT),
    ("text", "date"): _cut(TIME_OF_TEXT.replace("{x}", "trim({x})")),
    ("text", "timestamp"): Cast(TIME_OF_TEXT, f"{{v}} {IN_RANGE}"),
    ("whole", "integer"): Cast("CAST({x} AS BIGINT)", is_sure=True),
    ("whole", "number"): NUMBER,
    ("whole", "boolean"): FLAG,
    ("huge", "number"): NUMBER,
    ("huge", "boolean"): FLAG,
    ("float", "integer"): Cast("TRY_CAST({x} AS BIGINT)", "{x} = trunc({x})", missing="isnan({x})"),
    ("float", "number"): NUMBER,
    ("float", "boolean"): Cast(FLAG.value, FLAG.holds, missing="isnan({x})"),
    ("decimal", "integer"): Cast("TRY_CAST({x} AS BIGINT)", "{x} = trunc({x})"),
    ("decimal", "number"): NUMBER,
    ("decimal", "boolean"): FLAG,
    ("boolean", "boolean"): Cast("{x}", is_sure=True),
    ("date", "date"): Cast("{x}", f"{{v}} {IN_RANGE}"),
    ("date", "timestamp"): TIME,
    ("time", "date"): _cut("TRY_CAST({x} AS TIMESTAMP)"),
    ("time", "timestamp"): TIME,
    ("zoned", "date"): _cut("timezone('UTC', {x})"),
    ("zoned", "timestamp"): Cast("timezone('UTC', {x})", f"{{v}} {IN_RANGE}"),
}


def typed(source: str, found: str, declared: str) -> tuple[str, str | None]:
    """SQL of a value as its declared type, and a predicate for values that cannot be read so (None: all can).

    Args:
        source: SQL of the value as it is in the file.
        found: Its SQL type there; VARCHAR for text formats.
        declared: Type word of the YAML.
    """
    if declared == "string":
        return f"CAST({source} AS VARCHAR)", None
    cast = CASTS.get((_kind(found), declared), Cast(f"TRY_CAST({{x}} AS {SQL_TYPES[declared]})"))
    bare = cast.value.format(x=source)
    shown = f"nullif({bare}, 'nan'::DOUBLE)" if declared == "number" else bare
    if cast.is_sure:
        return shown, None
    holds = f"({bare}) IS NOT NULL"
    if cast.holds:
        holds = f"({holds} AND {cast.holds.format(x=source, v=f'({bare})')})"
    missing = f" AND NOT {cast.missing.format(x=source)}" if cast.missing else ""
    value = f"CASE WHEN {holds} THEN {shown} END" if cast.holds else shown
    return value, f"{source} IS NOT NULL{missing} AND {holds} IS NOT TRUE"


def _kind(found: str) -> str:
    """The word of `CASTS` for a SQL type."""
    if found in (TEXT, "JSON") or found.startswith("ENUM"):
        return "text"
    if found in WHOLE:
        return "whole"
    if found in ("FLOAT", "DOUBLE"):
        return "float"
    if found.startswith("DECIMAL"):
        return "decimal"
    if found in ("HUGEINT", "UHUGEINT", "UBIGINT"):
        return "huge"
    if found == "TIMESTAMP WITH TIME ZONE":
        return "zoned"
    return "time" if found.startswith("TIMESTAMP") else found.lower()
