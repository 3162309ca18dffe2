"""The order of the runs of a history."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from ml_assets.graph.monitoring import history

NOW = dt.datetime(2024, 6, 1)


def test_runs_are_in_the_order_of_their_batches() -> None:
    known: dict[str, dt.datetime] = {}
    for number, batch in enumerate(["5", "7", "6", "9", "1", "2024"]):  # 6, 1 and 2024 come late
        known[batch] = history.moment(batch, known, NOW + dt.timedelta(days=number))
    assert sorted(known, key=lambda batch: known[batch]) == sorted(known)
    assert len(set(known.values())) == len(known)
    assert history.moment("5", known, NOW + dt.timedelta(days=99)) == NOW, "a batch that is made again keeps its place"


def test_a_date_in_the_name_is_the_time() -> None:
    assert history.moment("2013-11", {}, NOW) == dt.datetime(2013, 11, 1)
    assert history.moment("20131105", {}, NOW) == dt.datetime(2013, 11, 5)
    assert history.moment("001", {}, NOW) == NOW
    known = {"2013-11": dt.datetime(2013, 11, 1), "2013-12": dt.datetime(2013, 12, 1)}
    assert known["2013-11"] < history.moment("2013-11-corrected", known, NOW) < known["2013-12"]


def test_pipelines_have_folders_of_their_own(tmp_path: Path) -> None:
    first, second = (history.project_folder(tmp_path, name) for name in ("a", "b"))
    assert first != second
    assert first == history.project_folder(tmp_path, "a")
