"""Outcomes that come later: labels, history and live scores know them; what was made before stays as it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from ml_assets.graph import run_requests
from ml_assets.graph.features import select
from ml_assets.graph.ingest import outcomes
from ml_assets.graph.training.pinning import make_pin
from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables import training_sets
from ml_assets_tests.conftest import Project, check_results, failure_text, loans

OUTCOMES = {
    "path": "data/outcomes",
    "pattern": r"(paid_(?P<batch>\d+)|paid)(_\w+)?\.(csv|parquet)",
    "settle_seconds": 0,
}


@pytest.fixture
def waiting(copied: Project) -> Project:
    """The trained project, with outcomes that come later."""
    return with_outcomes(copied)


@pytest.fixture
def bare(project: Project) -> Project:
    """The same without a batch: outcomes may come first."""
    return with_outcomes(project)


def with_outcomes(project: Project) -> Project:
    project.spec_dict["outcomes"] = dict(OUTCOMES)
    (project.root / "data/outcomes").mkdir()
    return project


def deliver(project: Project, name: str, frame: pd.DataFrame, minute: int = 0) -> Path:
    """A file of outcomes that was changed at this minute."""
    file = project.root / "data/outcomes" / name
    frame.to_csv(file, index=False)
    os.utime(file, (60 * minute, 60 * minute))
    return file


def late(batch: int, rows: int = 150) -> pd.DataFrame:
    return loans(batch, rows)[["loan", "late_days"]]


def flipped(truth: pd.DataFrame) -> pd.DataFrame:
    """The opposite of every label."""
    return truth.assign(late_days=np.where(truth["late_days"] > 10, 0.0, 50.0))


def take(project: Project) -> dg.ExecuteInProcessResult:
    result = project.materialize("outcomes")
    assert result.success, failure_text(result)
    return result


def scan(project: Project) -> outcomes.Taken:
    """What the asset does, without Dagster."""
    spec = project.spec
    assert spec.outcomes is not None
    with Lake(project.paths.lake) as lake:
        return outcomes.take(lake, spec, spec.outcomes, project.paths, Commit("loans/outcomes"))


def statuses(project: Project) -> dict[str, str]:
    rows = project.rows("SELECT path, status FROM {p}.outcome_files ORDER BY path")
    return {Path(row["path"]).name: row["status"] for row in rows}


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def requested(tick: Any) -> list[str]:
    """Assets of the runs that a tick requests."""
    return [run.asset_selection[0].path[-1] for run in getattr(tick, "run_requests", None) or []]


def test_the_story_of_a_batch_whose_outcomes_come_late(waiting: Project) -> None:
    project = waiting
    project.write(6, loans(6).assign(late_days=None))
    assert project.ingest("6").success
    assert project.materialize("predictions", batches=["6"]).success
    lookups = project.rows("SELECT * FROM {p}.lookup_region_history ORDER BY ALL")
    result = project.materialize("performance_report", batches=["6"])
    assert result.success, failure_text(result)
    assert "No outcome" in metadata(result)["verdict"]
    assert check_results(result)[("performance_report", "no_decay", "6")]
    assert project.value("SELECT count(*) FROM {p}.performance_report WHERE batch = '6'") == 0

    truth = pd.concat([late(6), pd.DataFrame({"loan": [77], "late_days": [1.0]})])
    deliver(project, "paid.csv", truth)
    tick = project.tick("loans_outcomes")
    assert [key.path[-1] for key in tick.run_requests[0].asset_selection] == ["outcomes", "online_lookups"]
    assert metadata(take(project))["keys_without_row"] == "1"
    tick = project.tick("loans_outcomes", tick.cursor)
    assert [(r.tags["ml_assets/batches"], r.asset_selection[0].path[-1]) for r in tick.run_requests] == [
        ("6", "performance_report")
    ]
    assert requested(project.tick("loans_outcomes", tick.cursor)) == []
    result = project.materialize("performance_report", batches=["6"])
    assert result.success, failure_text(result)

    joined = pd.DataFrame(
        project.rows("""SELECT p.score, p.decision::INT AS decision, v.loan FROM {p}.predictions p
        JOIN {p}.validated_data v USING (batch, row_id) WHERE batch = '6'""")
    ).merge(truth)
    came = joined["late_days"] > 10
    expected = {
        "roc_auc": metrics.roc_auc_score(came, joined["score"]),
        "average_precision": metrics.average_precision_score(came, joined["score"]),
        "accuracy": metrics.accuracy_score(came, joined["decision"]),
        "balanced_accuracy": metrics.balanced_accuracy_score(came, joined["decision"]),
        "precision": metrics.precision_score(came, joined["decision"]),
        "recall": metrics.recall_score(came, joined["decision"]),
        "f1": metrics.f1_score(came, joined["decision"]),
        "log_loss": metrics.log_loss(came, joined["score"]),
        "brier": metrics.brier_score_loss(came, joined["score"]),
    }
    rows = project.rows("SELECT * FROM {p}.performance_report WHERE batch = '6'")
    assert {row["metric"]: row["value"] for row in rows} == pytest.approx(expected)
    assert all(row["rows"] == 150 and row["low"] <= row["value"] <= row["high"] for row in rows)
    (judged,) = [row for row in rows if row["judged"]]
    assert (judged["metric"], judged["role"], judged["seen"]) == ("roc_auc", "champion", False)
    promised = project.value(
        "SELECT value FROM {p}.evaluation_report WHERE scope = 'test' AND metric = 'roc_auc' AND version = '1.0.0'"
    )
    assert judged["test_score"] == promised
    assert judged["drop"] == pytest.approx(promised - expected["roc_auc"])

    deliver(project, "paid.csv", flipped(truth), minute=5)
    take(project)
    tick = project.tick("loans_outcomes", tick.cursor)
    assert len(tick.run_requests) == 1  # the file is new to the sensor, which requests the asset for nothing
    tick = project.tick("loans_outcomes", tick.cursor)
    assert [request.tags["ml_assets/batches"] for request in tick.run_requests] == ["6"]
    result = project.materialize("performance_report", batches=["6"])
    assert not check_results(result)[("performance_report", "no_decay", "6")]
    row = project.rows("SELECT decayed, why FROM {p}.performance_report WHERE batch = '6' AND judged")[0]
    assert row["decayed"]
    assert row["why"].startswith("Decayed: roc_auc 0.")
    assert project.rows("SELECT * FROM {p}.lookup_region_history ORDER BY ALL") == lookups
    assert project.value("SELECT count(late_days) FROM {p}.validated_data WHERE batch = '6'") == 0


def test_labels_of_a_training_are_what_was_known_when_it_was_pinned(waiting: Project) -> None:
    take(waiting)
    with Lake(waiting.paths.lake) as lake:
        first = make_pin(lake, waiting.spec)
        before = training_sets.read(lake, "loans", first)
    wrong = flipped(late(5))
    deliver(waiting, "paid_5.csv", wrong)
    take(waiting)
    with Lake(waiting.paths.lake) as lake:
        second = make_pin(lake, waiting.spec)
        assert second.pin_id != first.pin_id
        assert make_pin(lake, waiting.spec).pin_id == second.pin_id
        pd.testing.assert_frame_equal(training_sets.read(lake, "loans", first), before)
        after = training_sets.read(lake, "loans", second)
        of_5 = (after["batch"] == "5").to_numpy()
        assert (after["label"] != before["label"]).to_numpy().tolist() == of_5.tolist()
        unlabelled = waiting.spec.model_copy(update={"outcomes": None})
        assert make_pin(lake, unlabelled).late is None
        earlier = select.open_history(lake, waiting.spec, "6", 1)
        ((late_rows,),) = lake.con.execute("SELECT count(*) FROM history WHERE late").fetchall()
        assert (earlier, late_rows) == (["5"], int((wrong["late_days"] > 10).sum()))


def test_bytes_are_taken_once_and_what_returns_counts_again(bare: Project) -> None:
    deliver(bare, "paid_5.csv", late(5, 3), minute=1)
    scan(bare)
    deliver(bare, "paid_5_again.csv", late(5, 3), minute=2)
    assert scan(bare).new == []
    assert statuses(bare) == {"paid_5.csv": "ready", "paid_5_again.csv": "duplicate"}
    assert bare.value("SELECT count(*) FROM {p}.outcomes") == 3
    deliver(bare, "paid_5.csv", late(5, 3).assign(late_days=1.0), minute=3)
    scan(bare)
    deliver(bare, "paid_5.csv", late(5, 3), minute=4)
    assert [Path(one.path).name for one in scan(bare).new] == ["paid_5.csv"]
    newest = bare.rows("SELECT loan, max_by(late_days, received_at) AS days FROM {p}.outcomes GROUP BY 1 ORDER BY 1")
    assert [row["days"] for row in newest] == late(5, 3)["late_days"].to_list()


def test_a_known_file_that_takes_the_bytes_of_another_is_newer(bare: Project) -> None:
    deliver(bare, "paid_a.csv", late(5, 3), minute=1)
    deliver(bare, "paid_b.csv", late(5, 3).assign(late_days=1.0), minute=2)
    assert len(scan(bare).new) == 2
    deliver(bare, "paid_b.csv", late(5, 3), minute=3)
    assert [Path(one.path).name for one in scan(bare).new] == ["paid_b.csv"]


def test_a_bad_file_is_rejected_alone(bare: Project) -> None:
    good = late(5, 3)
    deliver(bare, "paid_1.csv", good.drop(columns="loan"))
    deliver(bare, "paid_2.csv", good.rename(columns={"late_days": "days"}))
    deliver(bare, "paid_3.csv", good.assign(late_days=["1", "soon", "3"]))
    deliver(bare, "paid_4.csv", pd.concat([good, good.assign(late_days=99)]))
    deliver(bare, "paid_5.csv", pd.concat([good, good.assign(late_days=good["late_days"].where([True, True, False]))]))
    deliver(bare, "paid_6.csv", good.assign(loan=[1, None, 2]))
    deliver(bare, "paid_7.csv", good.head(0))
    (bare.root / "data/outcomes/paid_8.parquet").write_bytes(b"PAR1")
    deliver(bare, "notes.csv", good)
    result = take(bare)
    assert not check_results(result)[("outcomes", "every_file_is_accepted", None)]
    refused = dict.fromkeys([f"paid_{n}.csv" for n in (1, 2, 3, 4, 6, 7)] + ["paid_8.parquet"], "refused")
    assert statuses(bare) == {**refused, "notes.csv": "unmatched", "paid_5.csv": "ready"}
    assert bare.rows("SELECT DISTINCT batch, source_file FROM {p}.outcomes") == [
        {"batch": "5", "source_file": "paid_5.csv"}
    ]
    errors = {Path(row["path"]).name: row["error"] for row in bare.rows("SELECT path, error FROM {p}.ingest_errors")}
    assert set(errors) == set(refused)
    for name, text in {
        "paid_1.csv": "it lacks loan",
        "paid_2.csv": "has an outcome column; it has none",
        "paid_3.csv": "type of late_days in 1 of 3 rows, such as 2",
        "paid_4.csv": "two different outcomes",
        "paid_6.csv": "loan.not_null in 1 of 3 rows, such as 2",
        "paid_7.csv": "no rows",
        "paid_8.parquet": "cannot be read",
    }.items():
        assert text in errors[name], errors[name]
    scan(bare)
    assert bare.value("SELECT count(*) FROM {p}.ingest_errors") == 7  # recorded once
    deliver(bare, "paid_1.csv", good.assign(late_days=7.0), minute=9)
    scan(bare)
    assert statuses(bare)["paid_1.csv"] == "ready"


def test_a_sensor_without_its_cursor_requests_nothing_that_is_done(waiting: Project) -> None:
    deliver(waiting, "paid_5.csv", late(5))
    take(waiting)
    tick = waiting.tick("loans_outcomes")
    assert [r.asset_selection[0].path[-1] for r in tick.run_requests] == ["performance_report"]
    assert waiting.materialize("performance_report", batches=["5"]).success
    assert requested(waiting.tick("loans_outcomes")) == []


def test_what_a_lost_run_should_have_taken_or_measured_is_requested_again(
    waiting: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later(cursor: str, requests_before: int = 1) -> Any:
        moment = run_requests.now() + run_requests.WAIT_S * 2 ** (requests_before - 1)
        monkeypatch.setattr(run_requests, "now", lambda: moment)
        return waiting.tick("loans_outcomes", cursor)

    deliver(waiting, "paid_5.csv", late(5))
    first = waiting.tick("loans_outcomes")
    assert requested(waiting.tick("loans_outcomes", first.cursor)) == []
    second = later(first.cursor)
    assert requested(first) == requested(second) == ["outcomes"]
    assert first.run_requests[0].run_key != second.run_requests[0].run_key
    take(waiting)
    third = later(second.cursor, requests_before=2)
    assert requested(third) == ["performance_report"]
    fourth = later(third.cursor)
    assert requested(fourth) == ["performance_report"]
    assert third.run_requests[0].run_key != fourth.run_requests[0].run_key
    assert waiting.materialize("performance_report", batches=["5"]).success
    assert requested(later(fourth.cursor, requests_before=2)) == []
