"""A small run of each attack of `make torture`, so that none of them rots."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.torture import damage, writers
from benchmarks.torture.outcome import Outcome, markdown


def test_killed_writers_lose_nothing(tmp_path: Path) -> None:
    outcome = writers.kill_writers(tmp_path, seed=5, times=2)
    assert (outcome.tried, outcome.broken) == (2, [])


def test_parallel_writers_all_get_through(tmp_path: Path) -> None:
    outcome = writers.parallel_writers(tmp_path, seed=6, writers=2, stamps=3)
    assert (outcome.tried, outcome.broken, outcome.notes) == (3, [], "6 acknowledged writes")


def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path) -> None:
    assert writers.file_limit(tmp_path, times=1).broken == []


def test_a_damaged_lake_is_refused_or_right(tmp_path: Path) -> None:
    outcome = damage.damaged_lake(tmp_path, seed=7, times=6)
    assert (outcome.tried, outcome.broken) == (12, [])


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (None, "lost"),
        ({"rows": 9, "ids": 9, "first": 3, "last": 3}, "9 rows, 9 of them different, in place of 10"),
        ({"rows": 10, "ids": 5, "first": 3, "last": 3}, "10 rows, 5 of them different, in place of 10"),
        ({"rows": 10, "ids": 10, "first": 2, "last": 3}, "torn: rows of two writes"),
        ({"rows": 10, "ids": 10, "first": 2, "last": 2}, "holds write 2, and 3 was acknowledged last"),
        ({"rows": 10, "ids": 10, "first": 3, "last": 3}, None),
        ({"rows": 10, "ids": 10, "first": 4, "last": 4}, None),
    ],
)
def test_what_writers_lost_or_tore_would_be_seen(row: dict[str, int] | None, problem: str | None) -> None:
    assert writers._problem(row, [1, 2, 3], {1, 2, 3, 4}, 10, any_order=False) == problem


def test_an_outcome_counts_what_held() -> None:
    outcome = Outcome("attack", "promise")
    outcome.expect(True, "unused")
    outcome.expect(False, "it broke")
    assert (outcome.tried, outcome.held, outcome.broken) == (2, 1, ["it broke"])
    assert markdown([outcome]).splitlines()[-1] == "| attack | promise | 2 | 1 |  |"
