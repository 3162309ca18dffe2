"""What the steps share."""

from __future__ import annotations

import pytest

from ml_assets.graph.declare import triggered_by
from ml_assets.tables.versions import user
from ml_assets_tests.conftest import Project, failure_text


@pytest.mark.parametrize(
    ("tags", "who"),
    [
        ({"dagster/sensor_name": "loans_retrain", "dagster/run_key": "k"}, "sensor loans_retrain"),
        ({"dagster/schedule_name": "loans_retrain_cron"}, "schedule loans_retrain_cron"),
        ({"dagster/backfill": "abc"}, "backfill abc"),
        ({"user": "ana@example.org", "dagster/sensor_name": "x"}, "ana@example.org"),
        ({"ml_assets/pipeline": "loans"}, user()),
    ],
)
def test_who_asked_for_a_run(tags: dict[str, str], who: str) -> None:
    assert triggered_by(tags) == who


def test_a_range_without_batches_says_so(project: Project) -> None:
    project.instance.add_dynamic_partitions("loans_batches", ["1", "2"])
    failed = failure_text(project.materialize("raw_data", batches=["2", "1"]))
    assert "holds no batch" in failed
    assert "2 to 1" in failed
