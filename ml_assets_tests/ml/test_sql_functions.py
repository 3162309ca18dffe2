"""Our functions beside DuckDB's own, over a grid of values: the same to the last bit, or refused."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import duckdb
import pytest

from ml_assets.ml.sql_functions import CASTS, FUNCTIONS, VARIADIC, callables, sql_name, stored

VALUES: dict[str, list[tuple[str, Any]]] = {  # literal of DuckDB, value
    "number": [(f"{n}::BIGINT", n) for n in (0, 1, 2, -3, 7, 60, 2013, 10**9, 2**53 + 1, 2**63 - 1)]
    + [(f"'{x!r}'::DOUBLE", x) for x in (0.0, -0.0, 0.5, 1.5, -2.5, 1.005, 2.675, 0.49999999999999994, 1e15, 1e300)],
    "text": [(f"'{text}'", text) for text in ("", " Ab ", "Éßİ ς", "b%", "a_", "12", "ΑΣ")],
    "time": [
        (f"TIMESTAMP '{text}'", stored(dt.datetime.fromisoformat(text)))
        for text in (
            "2013-01-06 05:07:09.25",
            "2024-02-29 00:00:00",
            "1969-12-31 23:59:59.999999",
            "2020-12-31 10:00:00",
        )
    ],
    "unit": [(f"'{unit}'", unit) for unit in ("year", "month", "day", "hour", "minute", "second", "dow", "week")],
}
VALUES["integer"] = [one for one in VALUES["number"] if isinstance(one[1], int)]
VALUES["text or integer"] = VALUES["text"] + VALUES["integer"]
VALUES["number or boolean"] = VALUES["number"] + [("true", True)]
SMALL = {"make_timestamp": [0, 1, 2, 30, 59, 2013], "make_date": [0, 1, 2, 12, 29, 31, 2012, 2013, 2**40]}
REFUSED = object()


def arguments(name: str, kinds: tuple[str, ...]) -> list[tuple[tuple[str, Any], ...]]:
    """Tuples of arguments, each as DuckDB's literal and our value."""
    if name in SMALL:
        few = [(str(n), n) for n in SMALL[name]]
        every = list(itertools.product(few, repeat=len(kinds)))
        return every[:: max(1, len(every) // 500)]
    if kinds[:2] == ("text", "time"):  # date_part and its like take the unit first
        kinds = ("unit", *kinds[1:])
    if name in ("left", "right", "substring", "substr", "round"):
        whole = [(str(n), n) for n in (-2, 0, 1, 2, 3)]
        return list(itertools.product(VALUES[kinds[0]], *[whole for _ in kinds[1:]]))
    return list(itertools.product(*(VALUES[kind] for kind in kinds)))


def compare(call: str, given: list[tuple[tuple[str, Any], ...]], function: Any) -> int:
    """Assert that all results that we give are DuckDB's; returns how many we give."""
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    texts = [f"TRY({call.format(*(literal for literal, _ in one))})" for one in given]
    results = list(con.execute(f"SELECT {', '.join(texts)}").fetchall()[0])
    same = 0
    for one, expected in zip(given, results, strict=True):
        try:
            found = function(*(value for _, value in one))
        except Exception:
            continue  # refused, which is no other answer
        expected = stored(expected) if isinstance(expected, dt.date) else expected
        assert repr(_plain(found)) == repr(_plain(expected)), (call, one, found, expected)
        same += 1
    return same


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


@pytest.mark.parametrize(("name", "count"), FUNCTIONS, ids=lambda part: str(part))
def test_a_function_gives_what_duckdb_gives(name: str, count: int) -> None:
    kinds, _, function = FUNCTIONS[name, count]
    marks = ["{}"] * count
    if name in ("**", "^", "~~*", "!~~", "~~", "||", "^@", "+", "-", "*", "/", "//", "%") and count == 2:
        call = f"{{}} {name} {{}}"
    elif name == "-":
        call = "-({})"
    else:
        call = f'"{name}"({", ".join(marks)})'
    given = arguments(name, kinds)
    assert compare(call, given, function) >= (20 if name in SMALL else max(1, len(given) // 10))


@pytest.mark.parametrize("name", CASTS)
def test_a_cast_gives_what_duckdb_gives(name: str) -> None:
    kinds, _, function = CASTS[name]
    given = [(one,) for one in VALUES[kinds[0]]]
    if name == "TEXT AS TIME":
        name = "TIMESTAMP"
        texts = ("2013-01-06", "2013-01-06 05:00:00", "2013-01-06 05:00:00.5", "2013-02-30", "x", "2013-1-6")
        given = [((f"'{text}'", text),) for text in texts]
    assert compare(f"CAST({{}} AS {name})", given, function) >= 3


def test_the_largest_and_smallest_pass_over_what_is_missing() -> None:
    assert [VARIADIC[name](3, None, 7) for name in ("greatest", "least")] == [7, 3]
    assert VARIADIC["greatest"](None) is None


def test_missing_gives_missing_and_names_are_no_functions_of_sqlite() -> None:
    found = callables()
    assert found[f"{sql_name('+')}/2"][1](1, None) is None
    assert all(name.startswith("duck_") for name in found)
    with pytest.raises(ValueError, match="NaN"):
        stored(float("nan"))
