"""A scan adds the new files to those that are recorded, and replaces all where a known one is not as it was."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pytest

from ml_assets.lake.lake import Commit, Lake, Written
from ml_assets.tables import arrivals
from ml_assets.tables.arrivals import ARRIVALS, Arrival

BY = Commit("tides/arrivals")
NAME = ARRIVALS.of("tides")


def seen(batch: str, status: str = "ready") -> Arrival:
    moment = dt.datetime(2031, 5, 4, 6)
    return Arrival(f"/in/{batch}.csv", batch, f"sha of {batch}", 9, moment, moment, status, tag=None)


def record(lake: Lake, *found: Arrival) -> Written:
    with lake.one_snapshot():
        earlier, read_at = arrivals.known(lake, "tides"), lake.snapshot()
    return arrivals.write(lake, "tides", found, earlier, read_at, BY)


def files(lake: Lake) -> int:
    ((count,),) = lake.fetch("SELECT count(*) FROM ducklake_list_files('lake', 'arrivals', schema => 'tides')")
    return int(count)


def as_a_whole(lake: Lake, found: Sequence[Arrival]) -> str:
    """The data version that a write of all files has."""
    return lake.data_version(arrivals.put(lake, "tides", found))


def test_only_new_files_are_written_and_the_content_counts_as_a_whole(lake: Lake) -> None:
    spring, neap, surge = seen("spring"), seen("neap"), seen("surge")
    assert record(lake, neap, spring).rows == 2
    added = record(lake, neap, spring, surge)
    assert (files(lake), added.rows, lake.count(NAME)) == (2, 3, 3)
    assert added.data_version == as_a_whole(lake, [neap, spring, surge])
    same = record(lake, neap, spring, surge)
    assert same.snapshot_id > added.snapshot_id  # materialized again, and nothing has changed
    assert (files(lake), same.rows, same.data_version) == (2, 3, added.data_version)
    assert arrivals.known(lake, "tides") == {one.path: one for one in (neap, spring, surge)}


@pytest.mark.parametrize("change", ["replaced", "vanished", "forgotten"])
def test_all_are_written_where_a_known_file_is_not_as_it_was(lake: Lake, change: str) -> None:
    spring, neap = seen("spring"), seen("neap", "unmatched")
    record(lake, neap, spring)
    found = {
        "replaced": [neap, spring._replace(sha256="other", size_bytes=8)],
        "vanished": [neap, spring._replace(status="vanished")],
        "forgotten": [spring],  # as an unmatched file that is gone
    }[change]
    written = record(lake, *found, seen("surge"))
    assert arrivals.known(lake, "tides") == {one.path: one for one in [*found, seen("surge")]}
    assert (files(lake), written.rows) == (1, len(found) + 1)
    assert written.data_version == as_a_whole(lake, [*found, seen("surge")])


def test_of_two_scans_at_once_no_file_is_recorded_twice(lake: Lake) -> None:
    spring, neap = seen("spring"), seen("neap")
    record(lake, spring)
    with lake.one_snapshot():
        earlier, read_at = arrivals.known(lake, "tides"), lake.snapshot()
    with Lake(lake.folder) as other:
        record(other, neap, spring)
    written = arrivals.write(lake, "tides", [neap, spring], earlier, read_at, BY)
    assert lake.fetch("SELECT path FROM lake.tides.arrivals ORDER BY path") == [(neap.path,), (spring.path,)]
    assert written.data_version == as_a_whole(lake, [neap, spring])
