"""Logged requests whose outcomes came back become training data: as served, once, in order."""

from __future__ import annotations

import dataclasses
from typing import Any

import dagster as dg
import pytest

from ml_assets.lake.lake import Lake
from ml_assets.pipeline_summary import summarize
from ml_assets.tables import training_sets
from ml_assets_tests.conftest import Project, failure_text, loans
from ml_assets_tests.graph.online import Asked, ask, log, observed, predicted

SENSOR = "loans_online_batches"
MADE = ("raw_data", "validated_data", "quarantine", "lookup_region_history", "features")


@pytest.fixture
def asked(copied: Project) -> Asked:
    """The rows of batch 5 under keys that no file has, with a feature that only the log can know."""
    found = ask(copied, "5")
    rows = [{**row, "loan": row["loan"] + 500_000, "signed": row["signed"].isoformat()} for row in found.rows]
    features = {**found.features, "unemployment": [0.5] * len(rows)}
    return dataclasses.replace(found, rows=rows, features=features)


def requested(copied: Project) -> list[str]:
    """The batches that the sensor asks for, registered as the daemon would."""
    result = copied.tick(SENSOR)
    if isinstance(result, dg.SkipReason):
        return []
    for request in result.dynamic_partitions_requests or ():
        copied.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return [request.tags["ml_assets/batches"] for request in result.run_requests]


def read(copied: Project, hour: str) -> None:
    """An hour of the log, not measured."""
    copied.instance.add_dynamic_partitions("loans_hours", [hour])
    assert copied.materialize("prediction_log", batches=[hour]).success


def ingest(copied: Project) -> str:
    """The batch, made as the sensor's run makes it."""
    (batch,) = requested(copied)
    result = copied.materialize(*MADE, batches=[batch])
    assert result.success, failure_text(result)
    return batch


def count(copied: Project, table: str, batch: str) -> int:
    return int(copied.value(f"SELECT count(*) FROM {{p}}.{table} WHERE batch = '{batch}'"))


def in_training_set(copied: Project, batch: str) -> list[Any]:
    """The rows of a batch in a new training set."""
    assert copied.materialize("training_set").success
    with Lake(copied.paths.lake, read_only=True) as lake:
        frame = training_sets.read(lake, "loans", training_sets.newest(lake, "loans"))
    return frame[frame["batch"] == batch].to_dict("records")


def test_rows_with_an_outcome_are_learned_from_as_they_were_served(copied: Project, asked: Asked) -> None:
    read(copied, log(copied, predicted(asked), observed(asked, "r")))
    batch = ingest(copied)
    assert batch.startswith("5 online ")
    rows = in_training_set(copied, batch)
    assert [row["label"] for row in rows] == [days > 10 for days in asked.late_days]
    assert [row["unemployment"] for row in rows] == [0.5] * len(rows)
    for name in ("income", "late_share", "signed_hour"):
        assert [row[name] for row in rows] == pytest.approx(asked.features[name], nan_ok=True), name
    is_fresh(copied, batch)
    stays_without_the_log(copied, batch)


def is_fresh(copied: Project, batch: str) -> None:
    """Nothing else is made of the batch, and the summary knows it."""
    for name in ("loans_stale", "loans_release", "loans_new_data"):
        result = copied.tick(name)
        requests = [] if isinstance(result, dg.SkipReason) else list(result.run_requests or ())
        assert not any(batch in str(request.tags) for request in requests), name
    with Lake(copied.paths.lake, read_only=True) as lake:
        found = summarize(lake, "loans")
    assert found.problems == []
    assert batch in found.batches
    assert found.batches == found.seen


def stays_without_the_log(copied: Project, batch: str) -> None:
    """Its rows are the same if it is made again after the log was deleted."""
    sql = f"SELECT * EXCLUDE (batch) FROM {{p}}.raw_data WHERE batch = '{batch}' ORDER BY row_id"
    before = copied.rows(sql)
    with Lake(copied.paths.lake) as lake:
        lake.con.execute("DELETE FROM lake.loans.prediction_log")
    assert copied.materialize("raw_data", batches=[batch]).success
    assert copied.rows(sql) == before


def test_a_row_is_in_one_batch_and_a_file_takes_its_place(copied: Project, asked: Asked) -> None:
    read(
        copied, log(copied, predicted(asked), predicted(asked, "again"), observed(asked, "r"), observed(asked, "again"))
    )
    batch = ingest(copied)
    assert count(copied, "validated_data", batch) == len(asked.rows)
    assert requested(copied) == []
    file = loans(6, len(asked.rows)).assign(loan=[row["loan"] for row in asked.rows])
    copied.write(6, file[110:])
    copied.write(7, file[10:110])
    assert copied.ingest("6").success
    assert count(copied, "quarantine", "6") == 0
    of_files = "(SELECT region, avg((late_days > 10)::INT) AS share FROM {p}.validated_data WHERE batch IN ('4', '5')"
    seen = f"SELECT count(*) FROM {of_files} GROUP BY 1) f JOIN {{p}}.lookup_region_history h USING (region)"
    assert copied.value(f"{seen} WHERE h.batch = '6' AND abs(h.late_share - f.share) < 1e-12") == 3
    assert [row["row_id"] for row in in_training_set(copied, batch)] == list(range(1, 111))
    assert copied.ingest("7").success
    assert in_training_set(copied, batch) == []  # too few are left for a part of their own


def test_few_rows_wait_and_late_outcomes_come_with_the_next_batch(copied: Project, asked: Asked) -> None:
    read(copied, log(copied, predicted(asked)))
    assert requested(copied) == []
    part = dataclasses.replace(asked, rows=asked.rows[:120], late_days=asked.late_days[:120])
    read(copied, log(copied, observed(part, "r")))
    first = ingest(copied)
    assert count(copied, "raw_data", first) == 120
    read(copied, log(copied, observed(asked, "r")))
    copied.instance.add_dynamic_partitions("loans_batches", ["5 online 2026-03-01"])
    assert copied.materialize(*MADE, batches=["5 online 2026-03-01"]).success
    assert count(copied, "raw_data", "5 online 2026-03-01") == len(asked.rows) - 120
    assert count(copied, "raw_data", first) == 120


@pytest.mark.parametrize("log_rules", [{"train": False}, {"leave_out": ["income"]}, None])
def test_no_batch_where_the_log_is_not_to_be_learned_from(project: Project, log_rules: Any) -> None:
    project.spec_dict["serving"] = {"log": log_rules}
    assert SENSOR not in {sensor.name for sensor in project.defs().sensors or ()}


def test_a_request_to_a_version_by_its_number_is_no_training_data(copied: Project, asked: Asked) -> None:
    read(copied, log(copied, predicted(asked, role="1.0.0"), observed(asked, "r")))
    assert requested(copied) == []


def test_other_features_are_computed_anew(copied: Project, asked: Asked) -> None:
    copied.sql["features.sql"] = copied.sql["features.sql"].replace("b.income,", "b.income * 2 AS income,")
    read(copied, log(copied, predicted(asked), observed(asked, "r")))
    batch = ingest(copied)
    rows = copied.rows(f"SELECT * FROM {{p}}.features WHERE batch = '{batch}' ORDER BY row_id")
    assert [row["income"] for row in rows] == [None if v is None else 2 * v for v in asked.features["income"]]
    assert 0.5 not in {row["unemployment"] for row in rows}
