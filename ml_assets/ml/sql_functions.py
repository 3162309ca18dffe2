"""DuckDB's functions of one row, as pure Python over the values that SQLite can hold.

Booleans are 0 and 1; dates and timestamps are texts such as `2013-01-31 05:00:00.000000`, a date being its midnight.
A value that DuckDB would refuse, or that SQLite cannot hold, raises: the row is refused, never answered differently.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import Any

# Kinds of values: a number has a point, an integer has none. A result that is SAME is of the kind of its arguments.
NUMBER, INTEGER, TEXT, TIME, BOOLEAN, SAME = "number", "integer", "text", "time", "boolean", "same"
SPACES = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
WHOLE = {"TINYINT": 7, "SMALLINT": 15, "INTEGER": 31, "BIGINT": 63}
UNITS = ("year", "month", "day", "hour", "minute", "second")


def stored(value: Any) -> Any:
    """A value of a request or a table as SQLite holds it.

    Raises:
        ValueError: SQLite cannot hold it.
    """
    if isinstance(value, dt.datetime):
        return value.isoformat(" ", "microseconds")
    if isinstance(value, dt.date):
        return f"{value.isoformat()} 00:00:00.000000"
    if isinstance(value, float) and value != value:
        raise ValueError("SQLite has no NaN")
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"SQLite has no {type(value).__name__}")
    return value


def _int64(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise ValueError("a whole number is beyond 64 bit")
    return value


def _float(value: float) -> float:
    if value != value:
        raise ValueError("the result is not a number")
    return value


def _plus(a: Any, b: Any) -> Any:
    return _int64(a + b) if type(a) is type(b) is int else _float(float(a) + b)


def _minus(a: Any, b: Any) -> Any:
    return _int64(a - b) if type(a) is type(b) is int else _float(float(a) - b)


def _times(a: Any, b: Any) -> Any:
    return _int64(a * b) if type(a) is type(b) is int else _float(float(a) * b)


def _negative(a: Any) -> Any:
    return _int64(-a) if type(a) is int else -a


def _divide(a: float, b: float) -> float:
    a, b = float(a), float(b)
    if b:
        return _float(a / b)
    return _float(math.copysign(math.inf, a) * math.copysign(1, b) if a else math.nan)


def _whole_divide(a: Any, b: Any) -> Any:
    if b == 0:
        return None
    if type(a) is not int or type(b) is not int:
        return _divide(a, b)
    return _int64(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))


def _modulo(a: Any, b: Any) -> Any:
    if type(a) is not int or type(b) is not int:
        return math.fmod(a, b)
    return None if b == 0 else int(math.copysign(1, a)) * (abs(a) % abs(b))


def _round(value: Any, digits: int = 0) -> Any:
    if type(value) is int:
        if digits < 0:
            raise ValueError("round() to tens is not known to be the same")
        return value
    size = abs(value) * 10.0**digits
    whole = math.floor(size)
    found = math.copysign(whole + (size - whole >= 0.5), value) / 10.0**digits
    return found if math.isfinite(found) else value


def _whole_part(function: Callable[[float], float]) -> Callable[[Any], float]:
    return lambda value: math.copysign(float(function(float(value))), value)


def _of_float(function: Callable[[float], float]) -> Callable[[Any], float]:
    return lambda value: function(float(value))


def _sign(value: Any) -> int:
    return int(value > 0) - int(value < 0)


def _to_whole(bits: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        found: int = value if type(value) is int else round(value)
        if not -(2**bits) <= found < 2**bits:
            raise ValueError(f"{value} does not fit into {bits + 1} bit")
        return found

    return convert


def _upper(text: str) -> str:
    return text.upper() if text.isascii() else "".join(map(_upper_letter, text))


@cache
def _upper_letter(letter: str) -> str:
    forms = ("\u1e9e" if letter == "\u00df" else letter.upper(), letter.title(), letter)
    return next(form for form in forms if len(form) == 1)


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(letter.lower()[0] for letter in text)


def _substring(text: str, start: int, length: int | None = None) -> str:
    begin = start - 1 if start > 0 else len(text) + start if start < 0 else -1
    end = len(text) if length is None else begin + length
    if length is not None and (length < 0 or begin < 0):
        raise ValueError("substring() from before the text is not known to be the same")
    return text[max(begin, 0) : max(end, 0)]


def _left(text: str, count: int) -> str:
    return text[:count]


def _right(text: str, count: int) -> str:
    return text[max(len(text) - count, 0) :] if count >= 0 else text[-count:]


def _joined(a: Any, b: Any) -> str:
    return f"{_text(a)}{_text(b)}"


def _text(value: Any) -> str:
    if type(value) not in (str, int):
        raise ValueError("a number with a point as text is not known to be the same")
    return str(value)


def _like(text: str, pattern: str) -> bool:
    return _pattern(pattern, False).fullmatch(text) is not None


def _ilike(text: str, pattern: str) -> bool:
    if not text.isascii() or not pattern.isascii():
        raise ValueError("ILIKE beyond ASCII is not known to be the same")
    return _pattern(pattern, True).fullmatch(text) is not None


@lru_cache(1024)
def _pattern(pattern: str, any_case: bool) -> re.Pattern[str]:
    parts = {"%": ".*", "_": "."}
    flags = re.DOTALL | (re.IGNORECASE if any_case else 0)
    return re.compile("".join(parts.get(letter, re.escape(letter)) for letter in pattern), flags)


def _extreme(choose: Callable[[Iterable[Any]], Any]) -> Callable[..., Any]:
    def function(*values: Any) -> Any:
        present = [value for value in values if value is not None]
        return choose(present) if present else None

    return function


def _made_date(year: int, month: int, day: int) -> str:
    return str(stored(dt.date(year, month, day)))


def _made_timestamp(year: int, month: int, day: int, hour: int, minute: int, second: float) -> str:
    whole, micros = divmod(round(float(second) * 1e6), 10**6)
    return str(stored(dt.datetime(year, month, day, hour, minute, whole, micros)))


def _day(text: str) -> dt.date:
    return dt.date.fromisoformat(text[:10])


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _epoch(text: str) -> float:
    return (_moment(text) - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1) / 1e6


def _cut(start: int, end: int) -> Callable[[str], int]:
    return lambda text: int(text[start:end])


def _from_day(function: Callable[[dt.date], int]) -> Callable[[str], int]:
    return lambda text: function(_day(text))


def _yearweek(day: dt.date) -> int:
    year, week, _ = day.isocalendar()
    return year * 100 + week


PARTS: dict[str, Callable[[str], int]] = {
    **dict(zip(UNITS, map(_cut, (0, 5, 8, 11, 14, 17), (4, 7, 10, 13, 16, 19)), strict=True)),
    "dayofmonth": _cut(8, 10),
    "quarter": lambda text: (int(text[5:7]) + 2) // 3,
    "dayofweek": _from_day(lambda day: day.isoweekday() % 7),
    "weekday": _from_day(lambda day: day.isoweekday() % 7),
    "isodow": _from_day(lambda day: day.isoweekday()),
    "dayofyear": _from_day(lambda day: day.timetuple().tm_yday),
    "week": _from_day(lambda day: day.isocalendar()[1]),
    "weekofyear": _from_day(lambda day: day.isocalendar()[1]),
    "isoyear": _from_day(lambda day: day.isocalendar()[0]),
    "yearweek": _from_day(_yearweek),
}
ALIASES = {"dow": "dayofweek", "doy": "dayofyear", **{f"{unit}s": unit for unit in UNITS}}


def _part(unit: str, text: str) -> int:
    return PARTS[ALIASES.get(unit.lower(), unit.lower())](text)


def _trunc_time(unit: str, text: str) -> str:
    ends = {"year": 4, "month": 7, "day": 10, "hour": 13, "minute": 16, "second": 19}
    kept = text[: ends[unit.lower()]]
    return kept + "0001-01-01 00:00:00.000000"[len(kept) :]


def _steps(unit: str, start: str, end: str) -> int:
    """Boundaries of a unit between two moments."""
    unit = unit.lower()
    if unit in ("year", "month"):
        months = [int(text[:4]) * 12 + int(text[5:7]) - 1 for text in (start, end)]
        return months[1] - months[0] if unit == "month" else months[1] // 12 - months[0] // 12
    seconds = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}[unit]
    first, last = (_moment(_trunc_time(unit, text)) for text in (start, end))
    return (last - first) // dt.timedelta(seconds=seconds)


def _as_time(text: str) -> str:
    """A text as a timestamp, in the one form whose meaning is beyond doubt."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{1,6})?)?", text):
        raise ValueError(f"{text!r} is no timestamp")
    return str(stored(_moment(text.ljust(26, "0") if "." in text else text)))


def _as_date(text: str) -> str:
    return text[:10] + " 00:00:00.000000"


# DuckDB's name -> (kinds of its arguments, kind of its result, function); integers are numbers, too.
Signature = tuple[tuple[str, ...], str, Callable[..., Any]]
N, W, T, M, B, S = NUMBER, INTEGER, TEXT, TIME, BOOLEAN, SAME
FUNCTIONS: dict[tuple[str, int], Signature] = {
    ("+", 2): ((N, N), S, _plus),
    ("-", 2): ((N, N), S, _minus),
    ("-", 1): ((N,), S, _negative),
    ("*", 2): ((N, N), S, _times),
    ("/", 2): ((N, N), N, _divide),
    ("//", 2): ((N, N), S, _whole_divide),
    ("%", 2): ((N, N), S, _modulo),
    ("abs", 1): ((N,), S, lambda value: _negative(value) if value < 0 else abs(value)),
    ("round", 1): ((N,), S, _round),
    ("round", 2): ((N, W), S, _round),
    ("floor", 1): ((N,), N, _whole_part(math.floor)),
    ("ceil", 1): ((N,), N, _whole_part(math.ceil)),
    ("ceiling", 1): ((N,), N, _whole_part(math.ceil)),
    ("trunc", 1): ((N,), S, lambda value: value if type(value) is int else _whole_part(math.trunc)(value)),
    ("sign", 1): ((N,), W, _sign),
    ("sqrt", 1): ((N,), N, _of_float(math.sqrt)),
    ("ln", 1): ((N,), N, _of_float(math.log)),
    ("log", 1): ((N,), N, _of_float(math.log10)),
    ("log10", 1): ((N,), N, _of_float(math.log10)),
    ("log2", 1): ((N,), N, _of_float(math.log2)),
    ("exp", 1): ((N,), N, _of_float(math.exp)),
    ("sin", 1): ((N,), N, _of_float(math.sin)),
    ("cos", 1): ((N,), N, _of_float(math.cos)),
    ("tan", 1): ((N,), N, _of_float(math.tan)),
    ("pi", 0): ((), N, lambda: math.pi),
    **{(name, 2): ((N, N), N, lambda a, b: math.pow(float(a), float(b))) for name in ("pow", "power", "**", "^")},
    ("isnan", 1): ((N,), B, math.isnan),
    ("isinf", 1): ((N,), B, math.isinf),
    ("isfinite", 1): ((N,), B, math.isfinite),
    ("lower", 1): ((T,), T, _lower),
    ("lcase", 1): ((T,), T, _lower),
    ("upper", 1): ((T,), T, _upper),
    ("ucase", 1): ((T,), T, _upper),
    ("length", 1): ((T,), W, len),
    ("len", 1): ((T,), W, len),
    ("strlen", 1): ((T,), W, lambda text: len(text.encode())),
    ("trim", 1): ((T,), T, lambda text: text.strip(SPACES)),
    ("ltrim", 1): ((T,), T, lambda text: text.lstrip(SPACES)),
    ("rtrim", 1): ((T,), T, lambda text: text.rstrip(SPACES)),
    **{(name, count): ((T, W, W)[:count], T, _substring) for name in ("substring", "substr") for count in (2, 3)},
    ("left", 2): ((T, W), T, _left),
    ("right", 2): ((T, W), T, _right),
    ("replace", 3): ((T, T, T), T, lambda text, old, new: text.replace(old, new) if old else text),
    ("contains", 2): ((T, T), B, lambda text, part: part in text),
    **{(name, 2): ((T, T), B, str.startswith) for name in ("starts_with", "prefix", "^@")},
    **{(name, 2): ((T, T), B, str.endswith) for name in ("ends_with", "suffix")},
    **{(name, 2): ((T, T), W, lambda text, part: text.find(part) + 1) for name in ("instr", "strpos", "position")},
    ("||", 2): (("text or integer", "text or integer"), T, _joined),
    ("~~", 2): ((T, T), B, _like),
    ("!~~", 2): ((T, T), B, lambda text, pattern: not _like(text, pattern)),
    ("~~*", 2): ((T, T), B, _ilike),
    ("make_date", 3): ((W, W, W), M, _made_date),
    ("make_timestamp", 6): ((W, W, W, W, W, N), M, _made_timestamp),
    **{(name, 1): ((M,), W, function) for name, function in PARTS.items()},
    ("epoch", 1): ((M,), N, _epoch),
    **{(name, 2): ((T, M), W, _part) for name in ("date_part", "datepart")},
    **{(name, 2): ((T, M), M, _trunc_time) for name in ("date_trunc", "datetrunc")},
    **{(name, 3): ((T, M, M), W, _steps) for name in ("date_diff", "datediff")},
}
# What a CAST is, by its target; a cast of a date to a timestamp is the value itself.
CASTS: dict[str, Signature] = {
    **{name: (("number or boolean",), W, _to_whole(bits)) for name, bits in WHOLE.items()},
    "DOUBLE": (("number or boolean",), N, float),
    "VARCHAR": (("text or integer",), T, _text),
    "BOOLEAN": ((N,), B, lambda value: value != 0),
    "DATE": ((M,), M, _as_date),
    "TEXT AS TIME": ((T,), M, _as_time),
}
VARIADIC = {"greatest": _extreme(max), "least": _extreme(min)}  # of numbers; NULL is passed over


def sql_name(name: str) -> str:
    """What a function is called on SQLite: never like one of SQLite's own, which may do something else."""
    return "duck_" + "".join(letter if letter.isalnum() else f"x{ord(letter):x}" for letter in name.lower())


def callables() -> dict[str, tuple[int, Callable[..., Any]]]:
    """Name on SQLite -> number of arguments (-1: any) and what is called; NULL gives NULL."""
    found = {(sql_name(name), count): function for (name, count), (_, _, function) in FUNCTIONS.items()}
    found |= {(sql_name(f"cast {name}"), 1): function for name, (_, _, function) in CASTS.items()}
    made = {f"{name}/{count}": (count, _strict(function)) for (name, count), function in found.items()}
    return made | {f"{sql_name(name)}/-1": (-1, function) for name, function in VARIADIC.items()}


def _strict(function: Callable[..., Any]) -> Callable[..., Any]:
    def strict(*values: Any) -> Any:
        return None if None in values else function(*values)

    return strict
