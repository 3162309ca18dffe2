"""Which features of a batch are broken, on statistics that are written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.tables.feature_statistics import Rules, broken, describe, put

BATCHES = ["1", "2", "3", "4", "5"]


def write(lake: Lake, rows: list[dict[str, Any]]) -> None:
    for batch in BATCHES:
        of_batch = put(lake, "p", [row for row in rows if row["batch"] == batch], batch)
        lake.replace([of_batch], Commit("p/features"))


def keep(lake: Lake, **missing: list[int]) -> None:
    """Feature -> missing values of 200 rows, batch by batch."""
    write(
        lake,
        [
            {"batch": batch, "feature": feature, "rows": 200, "missing": count, "only_value": None}
            for feature, counts in missing.items()
            for batch, count in zip(BATCHES, counts, strict=True)
        ],
    )


RULES = Rules(min_rows=100)


def said(lake: Lake, *batches: str, rules: Rules = RULES) -> list[str]:
    return [f"{one.batch}: {one}" for one in broken(lake, "p", batches or BATCHES, rules)]


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ([0, 2, 1, 200, 200], ["4: wind is missing in 100% of the rows, usually in 0% (since batch 4)"]),
        ([0, 2, 1, 0, 90], ["5: wind is missing in 45% of the rows, usually in 0% (since batch 5)"]),
        ([60, 62, 58, 61, 0], ["5: wind is missing in 0% of the rows, usually in 30% (since batch 5)"]),
        ([200, 0, 0, 0, 0], []),  # a lookup has no history in the first batch
        ([20, 80, 10, 60, 90], []),  # it always varies
        ([200, 200, 200, 200, 0], []),  # a column that begins
        ([0, 0, 0, 0, 15], []),
    ],
)
def test_missing_values_are_compared_with_what_is_usual(lake: Lake, missing: list[int], expected: list[str]) -> None:
    keep(lake, wind=missing, calm=[3, 4, 3, 5, 4])
    assert said(lake)[: len(expected) or 1] == expected


def test_a_batch_says_since_when(lake: Lake) -> None:
    keep(lake, wind=[0, 2, 1, 200, 200])
    (text,) = said(lake, "5")
    assert text == "5: wind is missing in 100% of the rows, usually in 1% (since batch 4)"
    assert said(lake, "5", rules=Rules(201)) == []
    assert said(lake, "5", rules=Rules(1, frozenset({"wind"}))) == []
    assert broken(lake, "other", ["1"], Rules(1)) == []


def test_a_feature_that_stands_still_is_broken_unless_that_is_chance(lake: Lake) -> None:
    rows = [
        {"batch": b, "row_id": n, "heat": n % 7, "rare": n == 3, "month": int(b)}
        for b in BATCHES[:4]
        for n in range(200)
    ]
    rows += [{"batch": "5", "row_id": n, "heat": 4, "rare": False, "month": 5} for n in range(200)]
    types = {"batch": "VARCHAR", "row_id": "BIGINT", "heat": "BIGINT", "rare": "BOOLEAN", "month": "BIGINT"}
    lake.append([Rows("p.features", types, rows)], Commit("p/features"))
    kinds = {"heat": "BIGINT", "rare": "BOOLEAN", "month": "BIGINT"}  # the month is another one in each batch, as ever
    of_batch = "(FROM lake.p.features WHERE batch = '{}')"
    write(lake, [row for batch in BATCHES for row in describe(lake.con, of_batch.format(batch), kinds, batch)])
    assert said(lake) == ["5: heat is '4' in every row, usually it varies (since batch 5)"]


def test_a_nan_is_a_missing_value(lake: Lake) -> None:
    lake.con.execute("CREATE TEMP TABLE made AS SELECT unnest(['nan'::DOUBLE, NULL, 2, 2]) AS heat")
    (row,) = describe(lake.con, "made", {"heat": "DOUBLE"}, "1")
    assert (row["rows"], row["missing"], row["only_value"]) == (4, 2, "2.0")
