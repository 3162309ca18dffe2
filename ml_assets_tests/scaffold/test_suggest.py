"""Suggestions from statistics: constraints that tomorrow's file keeps, and what a target is."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from ml_assets.errors import SpecError
from ml_assets.scaffold.suggest import code_pattern, outward, suggest_columns, suggest_target
from ml_assets.tables.statistics import column_statistics


def statistics(*selects: str, rows: int = 200) -> list[dict[str, Any]]:
    """Statistics of one batch per SELECT list over i = 0, 1, ..."""
    found = []
    with duckdb.connect() as con:
        for select in selects:
            con.execute(f"CREATE OR REPLACE TABLE t AS SELECT i AS row_id, {select} FROM range({rows}) r(i)")
            columns = {name: kind for name, kind, *_ in con.execute("DESCRIBE t").fetchall() if name != "row_id"}
            found += column_statistics(con, "t", columns)
    return found


@pytest.mark.parametrize(
    ("low", "high", "whole", "limits"),
    [
        (17, 4983, True, (0, 7500)),
        (2013, 2013, True, (1800, 2300)),
        (0, 1, True, (0, 2)),
        (-40, 43.2, False, (-82, 85)),
        (0.05, 0.16, False, (0, 0.22)),
        (-9, -3, True, (-12, 0)),
        (0, 0, False, (0, 0)),
        (1e-7, 2e-7, False, (5e-8, 2.5e-7)),
        (1e17, 2e17, False, (5e16, 2.5e17)),
    ],
)
def test_limits_leave_room_but_keep_the_sign(low: float, high: float, whole: bool, limits: tuple[float, float]) -> None:
    assert outward(low, high, whole) == pytest.approx(limits)


def test_constraints_of_columns() -> None:
    (amount, grade, code, name, flag, rare) = suggest_columns(
        statistics(
            """(i - 50) / 2 AS amount, 'g' || i % 3 AS grade,
            chr((65 + i % 26)::INT) || chr((65 + i // 26)::INT) AS code,
            'n' || i AS name, i % 2 = 0 AS flag, CASE WHEN i = 7 THEN 'once' ELSE 'often' END AS rare"""
        )
    )
    assert amount.keys() == {"name": "amount", "type": "number", "min": -75, "max": 130}
    assert grade.keys() == {"name": "grade", "type": "string", "allowed": ["g0", "g1", "g2"]}
    assert code.keys() == {"name": "code", "type": "string", "regex": "[A-Z]{2}"}
    assert name.keys() == {"name": "name", "type": "string"}
    assert flag.keys() == {"name": "flag", "type": "boolean"}
    assert rare.keys() == {"name": "rare", "type": "string"}  # a value seen once hints at others


def test_all_batches_count() -> None:
    (one,) = suggest_columns(statistics("i AS x", "CASE WHEN i > 3 THEN i + 80 END AS x"))
    assert (one.nullable, one.min, one.max) == (True, 0, 420)
    assert one.seen == "1.0 % missing, in 1 of 2 batches, 0 to 279"
    (grade,) = suggest_columns(statistics("'a' || i % 2 AS x", "'b' || i % 2 AS x", "'a' || i % 2 AS x"))
    assert grade.allowed is None
    (identifier,) = suggest_columns(statistics("i AS x"), unbounded=["x"])
    assert (identifier.min, identifier.max) == (None, None)


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        (["0", "1"], (None, None)),  # a flag that is a year: the next file may hold a 2
        (["0", "1", "1", "1"], (None, None)),
        (["i % 2", "0", "i % 2"], (0, 1)),
        (["7"], (None, None)),
        (["i % 40", "i % 45"], (0, 66)),
        (["i % 40", "i % 400"], (0, None)),  # limits of the first file would have broken the second
        (["i + 900", "i"], (None, 1700)),
        (["1 + i % 3", "4 + i % 3", "7 + i % 3", "10 + i % 3"], (None, None)),  # months: the next ones are others
        (["-i", "-i - 500", "-i - 900", "-i - 1300"], (None, None)),
        (["1 + i % 12"] * 4, (0, 18)),
    ],
)
def test_limits_are_those_that_the_next_file_keeps(values: list[str], limits: tuple[float | None, ...]) -> None:
    (one,) = suggest_columns(statistics(*(f"({sql})::BIGINT AS x" for sql in values)))
    assert (one.min, one.max) == limits


def test_a_list_of_texts_is_of_those_that_come_again() -> None:
    once, again, constant = (
        suggest_columns(statistics(*selects))[0]
        for selects in (
            [f"'{month}' AS x" for month in ("jan", "feb", "mar", "apr")],
            ["'a' || i % 3 AS x", "'a' || i % 2 AS x"],
            ["'EUR' AS x", "'EUR' AS x"],
        )
    )
    assert (once.allowed, again.allowed, constant.allowed) == (None, ["a0", "a1", "a2"], None)


def test_different_values_are_counted_over_all_rows() -> None:
    rows = statistics("'n' || i AS x", "'n' || (i + 150) AS x")
    assert "in one batch" in suggest_columns(rows)[0].seen
    (counted,) = suggest_columns(rows, distinct={"x": 350}, exact=True)
    assert (counted.distinct, counted.seen) == (350, "350 different")
    rows = [{**row, "distinct_count": 446} for row in rows]  # an estimate may be larger than the number of rows
    assert suggest_columns(rows)[0].seen == "about 200 different in one batch"


def test_codes_only_where_it_is_clear() -> None:
    zips = [f"{number:05d}" for number in range(20)]
    assert code_pattern(zips) == r"\d{5}"
    assert code_pattern(["A1", "B2", *(f"{chr(65 + n)}A" for n in range(10))]) == "[A-Z0-9]{2}"
    assert code_pattern(zips[:9]) is None
    assert code_pattern([*zips, "1234"]) is None
    assert code_pattern([f"a-{number}" for number in range(10)]) is None


@pytest.mark.parametrize(
    ("sql", "kind", "target", "note"),
    [
        ("i % 3 = 0", "binary", "y", ""),
        ("i % 2", "binary", "y", ""),
        ("(i % 2)::DOUBLE", "binary", "y", ""),
        ("i % 2 + 1", "binary", "y = 2", "2 is the positive class; y = 1 reverses it"),
        ("CASE WHEN i % 3 = 0 THEN 'no' ELSE 'yes' END", "binary", "y = 'yes'", "reverses it"),
        ("CASE WHEN i % 3 = 0 THEN 'it''s' ELSE 'other' END", "binary", "y = 'it''s'", "it's is the positive class"),
        ("'class ' || i % 4", "multiclass", "y", ""),
        ("i % 5", "multiclass", "y", "5 whole numbers are taken as classes"),
        ("(i % 5)::DOUBLE", "multiclass", "CAST(y AS BIGINT)", "kind: regression"),
        ("i", "regression", "y", ""),
        ("i / 7", "regression", "y", ""),
        ("(i % 5) / 2", "regression", "y", ""),
    ],
)
def test_targets(sql: str, kind: str, target: str, note: str) -> None:
    made = suggest_target(statistics(f"{sql} AS y"), "y")
    assert (made.kind, made.sql) == (kind, target)
    assert note in made.note
    assert bool(note) == bool(made.note)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("5", "one value only"),
        ("NULL::BIGINT", "no value"),
    ],
)
def test_no_targets(sql: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        suggest_target(statistics(f"{sql} AS y"), "y")


def test_a_column_called_like_a_keyword_is_quoted() -> None:
    assert suggest_target(statistics('i % 2 AS "left"'), "left").sql == '"left"'


@pytest.mark.parametrize(
    ("sql", "kind", "note"),
    [
        ("'n' || i", "binary", "more than 50 are no classes"),
        ("DATE '2024-01-01' + i::INT", "regression", "a date cannot be predicted itself"),
    ],
)
def test_targets_that_a_person_has_to_write(sql: str, kind: str, note: str) -> None:
    made = suggest_target(statistics(f"{sql} AS y"), "y")
    assert (made.is_open, made.kind, made.sql[:5]) == (True, kind, "TODO:")
    assert note in made.note
