"""Real-time use is measured as batches are: live scores, drift, and what follows from them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from sklearn.metrics import roc_auc_score

from ml_assets.graph.alerting.events import happened
from ml_assets.graph.monitoring import history
from ml_assets.lake.lake import Lake
from ml_assets.pipeline_summary import summarize
from ml_assets.server.prediction_log import LogRules
from ml_assets_tests.conftest import Project, check_results
from ml_assets_tests.graph.online import DAY, Asked, ask, log, observed, predicted, read, reports

BATCH = "online 2026-01-02"
SCORE = "metric = 'roc_auc'"


@pytest.fixture(scope="module")
def asked(trained: Project) -> Asked:
    return ask(trained, "5")


CopyOf = Callable[[str], Project]


@pytest.fixture(scope="module")
def observed_by_id(copy_of_module: CopyOf, asked: Asked) -> Project:
    """A day whose outcomes name the request. For reading only."""
    project = copy_of_module("by_id")
    read(project, log(project, predicted(asked), observed(asked, "r")))
    return project


@pytest.fixture(scope="module")
def observed_by_key(copy_of_module: CopyOf, asked: Asked) -> Project:
    """A day whose outcomes name the rows' keys. For reading only."""
    project = copy_of_module("by_key")
    read(project, log(project, predicted(asked), observed(asked, "r", by="key")))
    return project


@pytest.fixture(scope="module")
def decayed(copy_of_module: CopyOf, asked: Asked) -> Project:
    """A project after a day on which the champion was wrong about every row. For reading only."""
    project = copy_of_module("decayed")
    decay(project, asked)
    return project


def labels(asked: Asked) -> Any:
    return [int(days > 10) for days in asked.late_days]


@pytest.mark.parametrize("by", ["id", "key"])
def test_live_scores_are_those_of_the_logged_predictions(request: pytest.FixtureRequest, asked: Asked, by: str) -> None:
    ((batch, version, role, value, rows, decayed, test_score),) = reports(
        request.getfixturevalue(f"observed_by_{by}"),
        "performance_report",
        ["batch", "model_version", "role", "value", "rows", "decayed", "test_score"],
        SCORE,
    )
    assert (batch, version, role, rows) == (BATCH, "1.0.0", "champion", len(asked.late_days))
    assert value == pytest.approx(roc_auc_score(labels(asked), asked.scores))
    assert decayed is False
    assert test_score is not None


def test_a_day_of_a_batch_is_measured_as_the_batch_is(observed_by_id: Project) -> None:
    columns = ["metric", "value", "low", "high", "rows", "test_score", "decayed"]
    batch = observed_by_id.rows(
        f"SELECT {', '.join(columns)} FROM {{p}}.performance_report WHERE batch = '5' ORDER BY metric"
    )
    online = reports(observed_by_id, "performance_report", columns)
    assert sorted(online) == sorted(tuple(row.values()) for row in batch)
    of_batch, of_day = observed_by_id.rows(
        "SELECT drifted, weighted_share, columns, rows, model_version FROM {p}.drift_report ORDER BY batch"
    )
    assert of_day == of_batch


def test_outcomes_that_come_days_later_measure_their_day_again(copied: Project, asked: Asked) -> None:
    read(copied, log(copied, predicted(asked)))
    assert reports(copied, "performance_report", ["batch"]) == []
    assert len(reports(copied, "drift_report", ["batch"])) == 1
    later = DAY + dt.timedelta(days=3)
    read(copied, log(copied, observed(asked, "r", by="key", at=later), at=later))
    assert reports(copied, "performance_report", ["batch"], SCORE) == [(BATCH,)]


def test_the_newest_of_several_outcomes_counts_and_none_from_before_the_question(copied: Project, asked: Asked) -> None:
    before, after = DAY - dt.timedelta(hours=1), DAY + dt.timedelta(minutes=6)
    early = observed(asked, "early", lambda _: 99.0, by="key", at=before)
    first = observed(asked, "r", lambda _: 50.0)
    read(copied, log(copied, early, predicted(asked)))
    assert reports(copied, "performance_report", ["value"]) == []
    read(copied, log(copied, first, observed(asked, "r", at=after)))
    ((value,),) = reports(copied, "performance_report", ["value"], SCORE)
    assert value == pytest.approx(roc_auc_score(labels(asked), asked.scores))


def test_a_repeated_request_and_a_shadow_count_once_for_their_version(copied: Project, asked: Asked) -> None:
    other = [1 - score for score in asked.scores]
    records = [
        predicted(asked),
        predicted(asked),
        predicted(asked, version="0.9.0", role="shadow", scores=other),
        observed(asked, "r"),
    ]
    read(copied, log(copied, *records))
    found = reports(copied, "performance_report", ["model_version", "role", "rows", "judged"], SCORE)
    rows = len(asked.late_days)
    assert sorted(found) == [("0.9.0", "shadow", rows, False), ("1.0.0", "champion", rows, True)]


def test_requests_to_a_version_by_its_number_are_trials(copied: Project, asked: Asked) -> None:
    trial = predicted(asked, "trial", role="1.0.0", scores=[1 - score for score in asked.scores])
    read(copied, log(copied, predicted(asked), trial, observed(asked, "r"), observed(asked, "trial")))
    found = reports(copied, "performance_report", ["model_version", "role", "rows", "judged"], SCORE)
    assert found == [("1.0.0", "champion", len(asked.late_days), True)]


def test_only_the_newest_champion_of_a_day_is_judged(copied: Project, asked: Asked) -> None:
    records = [
        predicted(asked, "old", version="0.9.0"),
        predicted(asked, "r", at=DAY + dt.timedelta(minutes=1)),
        predicted(asked, "c", version="1.1.0", role="challenger"),
    ]
    read(copied, log(copied, *records, *(observed(asked, name) for name in ("old", "r", "c"))))
    found = reports(copied, "performance_report", ["model_version", "role", "judged"], SCORE)
    assert sorted(found) == [
        ("0.9.0", "earlier champion", False),
        ("1.0.0", "champion", True),
        ("1.1.0", "challenger", False),
    ]


def test_what_was_asked_drifts(copied: Project, asked: Asked) -> None:
    moved = {**asked.features, "income": [value and value + 100 for value in asked.features["income"]]}
    result = read(copied, log(copied, predicted(asked, features=moved)))
    ((drifted, version, columns, html),) = reports(
        copied, "drift_report", ["drifted", "model_version", "columns", "html"]
    )
    assert (drifted, version) == (True, "1.0.0")
    assert {column["column"] for column in columns if column["drifted"]} >= {"income"}
    assert (copied.paths.reports / html).exists()
    assert check_results(result)["online_report", "no_drift", "2026-01-02T09"] is False
    project = history.project_folder(copied.paths.evidently, "loans online")
    assert json.loads((project / "metadata.json").read_text())["name"] == "loans online"
    assert history.moments(project) == {"online 2026-01-02": dt.datetime(2026, 1, 2)}
    run = json.loads(history.saved(copied.paths.evidently, "loans", "online 2026-01-02") or "")
    assert (run["name"], run["timestamp"][:10]) == ("online 2026-01-02", "2026-01-02")


def test_a_column_that_is_left_out_is_not_measured(copied: Project, asked: Asked) -> None:
    copied.spec_dict["serving"] = {"log": {"leave_out": ["income"]}}
    rules = copied.spec.serving.log
    assert rules is not None
    record = predicted(asked, rules=LogRules(leave_out=frozenset(rules.leave_out)))
    read(copied, log(copied, record))
    ((columns, drifted),) = reports(copied, "drift_report", ["columns", "drifted"])
    assert "income" not in {column["column"] for column in columns}
    assert drifted is False


def decay(copied: Project, asked: Asked) -> None:
    """A day on which the champion is wrong about every row."""
    wrong = observed(asked, "r", lambda days: 0.0 if days > 10 else 50.0)
    read(copied, log(copied, predicted(asked), wrong))


def requested(copied: Project) -> int:
    """How many trainings the sensor starts."""
    return len(copied.tick("loans_retrain").run_requests)


def test_decay_in_real_time_alone_starts_a_training(copied: Project, asked: Asked) -> None:
    """Batch 5 came after the champion's training and is calm: only what was observed in real time calls for one."""
    assert requested(copied) == 0
    decay(copied, asked)
    assert reports(copied, "performance_report", ["decayed"], "judged") == [(True,)]
    assert requested(copied) == 1
    *_, event = copied.rows("SELECT * FROM {p}.retrain_events ORDER BY decided_at")
    assert (event["decision"], event["trigger"]) == ("train", "decay")
    assert f"on batch {BATCH}" in event["why"]
    assert event["batches"] == [BATCH]


def test_drift_from_an_earlier_champion_starts_nothing(copied: Project, asked: Asked) -> None:
    moved = {**asked.features, "income": [value and value + 100 for value in asked.features["income"]]}
    read(copied, log(copied, predicted(asked, features=moved)))
    with Lake(copied.paths.lake) as lake:
        lake.con.execute("UPDATE lake.loans.drift_report SET model_version = '0.9.0' WHERE batch = ?", [BATCH])
    assert requested(copied) == 0
    with Lake(copied.paths.lake) as lake:
        lake.con.execute("UPDATE lake.loans.drift_report SET model_version = '1.0.0' WHERE batch = ?", [BATCH])
    assert requested(copied) == 1


def test_the_summary_shows_the_newest_live_score_and_no_missing_batch(decayed: Project) -> None:
    with Lake(decayed.paths.lake, read_only=True) as lake:
        found = summarize(lake, "loans")
    assert found.live is not None
    assert (found.live["batch"], found.live["decayed"]) == (BATCH, True)
    assert found.seen == found.batches == ["1", "2", "3", "4", "5"]
    assert found.problems == []


def test_sensors_of_batches_see_no_batch_in_a_day(decayed: Project) -> None:
    for name in ("loans_stale", "loans_release", "loans_new_data"):
        result = decayed.tick(name)
        requests = [] if isinstance(result, dg.SkipReason) else list(result.run_requests or ())
        assert not any("online" in str(request.tags) for request in requests), name
    assert not any("online" in name for name in decayed.instance.get_dynamic_partitions("loans_batches"))


def test_decay_is_an_alert(decayed: Project) -> None:
    with Lake(decayed.paths.lake, read_only=True) as lake:
        texts = [alert.text for alert in happened(lake, "loans", []) if alert.event == "decay"]
    assert len(texts) == 1
    assert f"has decayed on batch {BATCH}" in texts[0]


def test_a_day_without_champion_or_log_is_no_failure(project: Project) -> None:
    project.write(1)
    assert project.ingest("1").success
    read(project, "2026-01-02T09")
    assert reports(project, "performance_report", ["batch"]) == []
