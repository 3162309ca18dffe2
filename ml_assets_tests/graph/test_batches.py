"""What the steps share."""

from __future__ import annotations

import pytest

from ml_assets.graph.declare import triggered_by
from ml_assets.tables.versions import user


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
