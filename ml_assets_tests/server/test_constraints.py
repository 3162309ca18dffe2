"""Constraints of columns on the values of requests."""

from __future__ import annotations

import re

import duckdb
import pytest

from ml_assets.server.constraints import Constraints


def test_every_broken_constraint_is_named() -> None:
    constraints = Constraints(
        {
            "n": {"min": 1, "max": 9.5},
            "origin": {"allowed": ["EWR", "JFK"]},
            "carrier": {"regex": "[A-Z0-9]{2}"},
            "absent": {"min": 3},
        }
    )
    found = constraints.broken(
        {"n": [1, 0, 10, None], "origin": ["EWR", "LGA", None, "JFK"], "carrier": ["UA"] * 3 + ["UAL"]}
    )
    assert [(one.row, one.field, one.rule) for one in found] == [
        (1, "n", "min: 1"),
        (2, "n", "max: 9.5"),
        (1, "origin", "allowed: EWR, JFK"),
        (3, "carrier", "regex: [A-Z0-9]{2}"),
    ]


@pytest.mark.parametrize("pattern", ["a.b", "a|ab", "^a$", "[^x]*", "a\\d+", "(?i)aB"])
def test_texts_match_as_in_batches(pattern: str) -> None:
    texts = ["ab", "a\nb", "axb", "a", "a\n", "AB", "a1", "xa"]
    ours = {one.row for one in Constraints({"c": {"regex": pattern}}).broken({"c": texts})}
    theirs = {
        row
        for row, text in enumerate(texts)
        if not duckdb.execute("SELECT regexp_full_match(?, ?)", [text, pattern]).fetchall()[0][0]
    }
    assert ours == theirs, re.escape(pattern)
