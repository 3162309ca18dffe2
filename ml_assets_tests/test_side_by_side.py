"""Two runs of one pipeline side by side, as two ranges of a backfill may be: a lookup never stays without a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ml_assets.graph.features import make
from ml_assets_tests.conftest import Project
from ml_assets_tests.graph.staleness.conftest import not_fresh
from ml_assets_tests.graph.staleness.test_sensors import asset_names, run, span, tick

READ = {
    "lookup_region_history": "SELECT * FROM {p}.lookup_region_history WHERE batch < '5' ORDER BY ALL",
    "features": "SELECT * FROM {p}.features WHERE batch < '5' ORDER BY ALL",
}


def test_a_lookup_that_was_read_before_an_earlier_batch_came_is_recomputed(
    trained: Project, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other range is written after the history was read, and before the lookup is."""
    earlier, made = ["1", "2"], make.make_lookup

    def while_the_other_range_runs(*arguments: Any) -> Sequence[str]:
        found = made(*arguments)
        others, earlier[:] = earlier[:], []
        if others:
            assert project.ingest(*others).success
        return found

    for batch in range(1, 5):
        project.write(batch)
    assert project.arrive().success
    monkeypatch.setattr(make, "make_lookup", while_the_other_range_runs)
    assert project.ingest("3", "4").success
    assert project.value("SELECT count(*) FROM {p}.lookup_region_history WHERE batch = '3'") == 0
    assert not_fresh(project).items() >= {("lookup_region_history", "stale 3"), ("features", "behind 3")}
    (request,) = tick(project).run_requests
    assert (span(request), asset_names(request)) == (("3", "3"), ["features", "lookup_region_history"])
    assert run(project, request).success
    for table, sql in READ.items():
        assert project.rows(sql) == trained.rows(sql), table
