"""What needs attention, and when it no longer does, on lakes whose rows are written by hand."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from dagster import DagsterInstance
from dagster._daemon.types import DaemonHeartbeat

from ml_assets import attention
from ml_assets.attention import Need, Stale
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.tables import alerts, arrivals, decisions, drift, ingest_errors, performance, versions
from ml_assets.tables.arrivals import Arrival
from ml_assets.tables.data import VALIDATED_DATA
from ml_assets.tables.decisions import Decision, Word
from ml_assets.tables.drift import DRIFT
from ml_assets.tables.ingest_errors import FailedIngest
from ml_assets.tables.performance import PERFORMANCE
from ml_assets_tests.tables.test_versions import model

NOW = versions.now()


def by(asset: str, batch: str | None = None, run_id: str = "run-9") -> Commit:
    return Commit(f"loans/{asset}", run_id, batch=batch)


def kinds(lake: Lake, paths: Paths | None = None) -> list[str]:
    return [need.kind for need in attention.needs(lake, "loans", paths)]


def only(lake: Lake) -> Need:
    (need,) = attention.needs(lake, "loans")
    return need


def decide(lake: Lake, version: str, word: Word, why: str = "all gates passed") -> None:
    decisions.record(lake, "loans", Decision(version, word, why, [], None, "ana"), by("champion"))


def champion(lake: Lake, version: str = "1.0.0") -> None:
    versions.register(lake, "loans", model(version).__dict__, by("trained_model"))
    decide(lake, version, "promoted")


def watch(lake: Lake, batch: str, drifted: bool | None, version: str = "1.0.0") -> None:
    row = {"batch": batch, "model_version": version, "drifted": drifted, "why": "Drift: income moved", "columns": []}
    lake.replace([drift.put(lake, "loans", row, batch)], by(DRIFT.name, batch))


def measure(lake: Lake, batch: str, decayed: bool) -> None:
    row = {"batch": batch, "model_version": "1.0.0", "metric": "roc_auc", "judged": True, "decayed": decayed}
    row |= {"why": "0.1 below the test score", "measured_at": NOW}
    lake.replace([performance.put(lake, "loans", [row], batch)], by(PERFORMANCE.name, batch))


def test_nothing_needs_anybody_where_there_is_nothing(lake: Lake) -> None:
    assert attention.needs(lake, "loans") == []
    champion(lake)
    assert attention.needs(lake, "loans") == []


def test_a_version_waits_until_somebody_decides(lake: Lake) -> None:
    champion(lake)
    decide(lake, "1.0.1", "pending", "the approval is manual")
    need = only(lake)
    assert (need.kind, need.severity, need.link) == ("pending", "warning", "/pipelines/loans/versions/1.0.1")
    assert "1.0.1 waits for approval: the approval is manual" in need.text
    assert "`ml-assets approve loans 1.0.1 --why ...`" in need.todo
    decide(lake, "1.0.1", "rejected", "not now")
    assert kinds(lake) == []


def test_a_refused_version_needs_somebody_only_without_a_champion(lake: Lake) -> None:
    decide(lake, "1.0.0", "refused", "roc_auc: at least 0.6, found 0.55")
    assert "version 1.0.0 was refused: roc_auc: at least 0.6, found 0.55" in only(lake).text
    champion(lake, "1.0.1")
    decide(lake, "1.0.2", "refused")
    assert kinds(lake) == []


def test_files_that_are_not_ingested(lake: Lake) -> None:
    statuses = ("ready", "refused", "duplicate", "unmatched", "vanished")
    files = [
        Arrival(f"/in/{status}.csv", "7", "x", 1, NOW, NOW, status, None if status == "ready" else f"it is {status}")
        for status in statuses
    ]
    lake.replace([arrivals.put(lake, "loans", files)], by("arrivals"))
    rejected, *skipped = attention.needs(lake, "loans")
    assert (rejected.kind, rejected.severity) == ("rejected_file", "error")
    assert rejected.text == "refused.csv is rejected: it is refused"
    assert [(need.kind, need.severity) for need in skipped] == [("skipped_file", "warning")] * 2
    lake.replace([arrivals.put(lake, "loans", files[:1])], by("arrivals"))
    assert kinds(lake) == []


def test_a_refused_batch_until_it_is_written(lake: Lake) -> None:
    for asset in ("validated_data", "features"):  # what follows is refused, too
        failed = [FailedIngest(f"{asset}: too many rows", batch) for batch in ("7", "8")]
        ingest_errors.record(lake, "loans", failed, by(asset))
    need = only(lake)
    assert need.kind == "failed_batch"
    assert need.text == "batches 7, 8 refused by validated_data: validated_data: too many rows"
    assert "`ml-assets ingest loans 7 8`" in need.todo
    rows = lake.values({"batch": "VARCHAR", "row_id": "BIGINT"}, [{"batch": "7", "row_id": 1}])
    lake.replace([VALIDATED_DATA.put("loans", rows, "7")], by(VALIDATED_DATA.name, "7"))
    needs = attention.needs(lake, "loans")
    assert {need.text.partition(":")[0] for need in needs} == {
        "batch 7 refused by features",
        "batch 8 refused by validated_data",
    }


def test_a_failed_run_until_another_one_writes_what_it_could_not(lake: Lake) -> None:
    text = "loans_train failed: candidate_tree: no space left"
    alerts.write(lake, "loans", [alerts.raised("run_failure", "run-1", text, [], "http://ui/runs/run-1")])
    need = only(lake)
    assert (need.kind, need.severity, need.link) == ("run_failure", "error", "http://ui/runs/run-1")
    rows = lake.values({"batch": "VARCHAR"}, [{"batch": "7"}])
    lake.replace([VALIDATED_DATA.put("loans", rows, "7")], by(VALIDATED_DATA.name, "7"))
    assert kinds(lake) == ["run_failure"]
    versions.register(lake, "loans", model("1.0.0").__dict__, by("candidate_tree"))
    assert kinds(lake) == []


def test_drift_and_decay_until_a_batch_is_well_again_or_another_version_is_champion(lake: Lake) -> None:
    champion(lake)
    for batch, drifted in (("1", True), ("2", False), ("3", True), ("4", None), ("5", True)):
        watch(lake, batch, drifted)
    measure(lake, "5", True)
    decay, drifted_need = attention.needs(lake, "loans")
    assert (decay.kind, decay.severity, drifted_need.kind) == ("decay", "error", "drift")
    assert "decayed on batch 5: 0.1 below the test score" in decay.text
    assert "batches 3, 5 drifted from what version 1.0.0 was trained on: income moved" in drifted_need.text
    watch(lake, "6", False)
    measure(lake, "6", False)
    assert kinds(lake) == []
    watch(lake, "7", True)
    assert kinds(lake) == ["drift"]
    champion(lake, "1.0.1")
    assert kinds(lake) == []


def test_what_the_sensor_notes_as_stale(lake: Lake, tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path / "data")
    assert attention.noted_stale(paths, "loans") == []
    attention.note_stale(paths, "loans", [Stale("missing", ["training_set"], "", "never made", "job loans_train")])
    (need,) = attention.needs(lake, "loans", paths)
    assert (need.kind, need.text, need.todo) == ("stale", "training_set is missing: never made", "job loans_train")
    attention.note_stale(paths, "loans", [])
    assert kinds(lake, paths) == []


def test_a_daemon_that_is_down(tmp_path: Path) -> None:
    """Dagster's own storage writes the heartbeat, so that another layout of it is noticed here."""
    assert attention.of_installation(tmp_path) == []
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert attention.of_installation(tmp_path) == []
        moment = versions.now()
        instance.add_daemon_heartbeat(DaemonHeartbeat(moment.replace(tzinfo=dt.UTC).timestamp(), "SENSOR", "1", []))
        assert attention.of_installation(tmp_path, moment) == []
        (need,) = attention.of_installation(tmp_path, moment + dt.timedelta(minutes=5))
    assert (need.kind, need.pipeline) == ("daemon", None)
    assert need.since is not None
    assert abs((need.since - moment).total_seconds()) < 1


def test_the_most_urgent_comes_first() -> None:
    found: list[Any] = [Need("p", kind, "", "", "") for kind in ("stale", "pending", "daemon", "run_failure")]
    assert [need.kind for need in attention.ordered(found)] == ["daemon", "run_failure", "pending", "stale"]
