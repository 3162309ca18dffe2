"""Late outcomes are filled in when rows are read, and only then."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pytest

from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.tables import data, outcomes

COMMIT = Commit(asset="loans/outcomes")
LATE = {"key": ["loan"], "columns": ["days", "paid"]}
Row = tuple[str | None, int, int, float | None, float | None]


def minute(number: int) -> dt.datetime:
    return dt.datetime(2024, 1, 1, 12, number)


def receive(lake: Lake, rows: Sequence[Row]) -> None:
    """Rows of outcome files: batch, loan, minute of receipt, days, paid."""
    types = {"batch": "VARCHAR", "loan": "BIGINT", "received_at": "TIMESTAMP", "days": "DOUBLE", "paid": "DOUBLE"}
    cells = [dict(zip(types, (b, loan, minute(at), days, paid), strict=True)) for b, loan, at, days, paid in rows]
    lake.replace([Put("loans.outcomes", lake.values(types, cells), append=True)], COMMIT)


@pytest.fixture
def filled(lake: Lake) -> Lake:
    """Loans 1 to 3 in batches a and b; loan 3 of a has an outcome of its own."""
    lake.con.execute(
        """CREATE TEMP TABLE v AS SELECT b AS batch, i AS row_id, i AS loan,
        CASE WHEN b = 'a' AND i = 3 THEN 9.0 END AS days, NULL::DOUBLE AS paid
        FROM (VALUES ('a'), ('b')) t(b), range(1, 4) r(i)"""
    )
    lake.replace([Put("loans.validated_data", "v")], COMMIT)
    return lake


def known(lake: Lake, snapshot: int | None = None) -> dict[str, tuple[float | None, float | None]]:
    rows = lake.con.execute(
        f"SELECT batch || loan, days, paid FROM {outcomes.known_sql('loans', LATE, snapshot)} ORDER BY 1"
    ).fetchall()
    return {row: (days, paid) for row, days, paid in rows if (days, paid) != (None, None)}


def test_the_newest_value_of_a_key_counts_column_by_column(filled: Lake) -> None:
    receive(filled, [("a", 1, 1, 5.0, None), ("a", 1, 2, 6.0, None), ("a", 1, 3, None, 100.0), ("a", 3, 1, None, None)])
    assert known(filled) == {"a1": (6.0, 100.0), "a3": (9.0, None)}
    receive(filled, [("a", 3, 4, 0.0, None)])
    assert known(filled)["a3"] == (0.0, None)


def test_a_row_without_a_batch_is_about_the_key_in_every_batch(filled: Lake) -> None:
    receive(filled, [(None, 1, 1, 5.0, None), ("b", 1, 2, 7.0, None), (None, 1, 0, 1.0, 2.0)])
    assert known(filled) == {"a1": (5.0, 2.0), "a3": (9.0, None), "b1": (7.0, 2.0)}
    receive(filled, [(None, 1, 3, 8.0, None)])
    assert known(filled)["b1"] == (8.0, 2.0)


def test_a_snapshot_knows_what_was_known_then(filled: Lake) -> None:
    receive(filled, [("a", 1, 1, 5.0, None)])
    before = filled.snapshot()
    receive(filled, [("a", 1, 2, 6.0, None), ("a", 2, 2, 1.0, None)])
    assert known(filled, before) == {"a1": (5.0, None), "a3": (9.0, None)}


def test_rows_stay_one_and_without_outcomes_nothing_is_joined(filled: Lake) -> None:
    receive(filled, [(None, 1, 1, 5.0, None), ("a", 1, 1, 5.0, 1.0), ("c", 2, 1, 5.0, None), (None, 99, 1, 5.0, None)])
    ((rows,),) = filled.con.execute(f"SELECT count(*) FROM {outcomes.known_sql('loans', LATE)}").fetchall()
    assert rows == 6
    assert outcomes.known_sql("loans", None) == data.of_files_sql("loans")
    assert outcomes.unmatched(filled, "loans", LATE) == 2


def test_what_is_to_be_measured_again_the_lake_tells(filled: Lake) -> None:
    receive(filled, [(None, 1, 1, 5.0, None), ("b", 2, 4, 5.0, None)])
    assert outcomes.to_measure(filled, "loans", LATE) == []  # nothing has been predicted
    put = Put("loans.predictions", filled.values({"batch": "VARCHAR"}, [{"batch": "a"}]), "a")
    filled.replace([put], COMMIT)
    assert outcomes.to_measure(filled, "loans", LATE) == ["a"]
    put = Put("loans.predictions", filled.values({"batch": "VARCHAR"}, [{"batch": "b"}]), "b")
    filled.replace([put], COMMIT)
    assert outcomes.to_measure(filled, "loans", LATE) == ["a", "b"]
    assert outcomes.to_measure(filled, "loans", LATE, after=minute(1)) == ["b"]
    types = {"batch": "VARCHAR", "outcomes_until": "TIMESTAMP"}
    report = [{"batch": "a", "outcomes_until": minute(1)}, {"batch": "b", "outcomes_until": minute(1)}]
    filled.replace([Put("loans.performance_report", filled.values(types, report))], COMMIT)
    assert outcomes.to_measure(filled, "loans", LATE) == ["b"]
