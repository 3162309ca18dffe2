"""Alerts on lakes whose rows are written by hand, sent to a real receiver."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from ml_assets.graph import webhook
from ml_assets.graph.alerting import sending, sensors
from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.tables import alerts, ingest_errors, versions
from ml_assets.tables.ingest_errors import FailedIngest
from ml_assets_tests.conftest import Project, loans
from ml_assets_tests.ports import free_port
from ml_assets_tests.receiver import Receiver, receiving

BY = Commit("loans/test", "run-1")
DECISIONS = {
    "version": "VARCHAR",
    "decision": "VARCHAR",
    "why": "VARCHAR",
    "decided_by": "VARCHAR",
    "decided_at": "TIMESTAMP",
    "run_id": "VARCHAR",
}
DRIFT = {
    "batch": "VARCHAR",
    "model_version": "VARCHAR",
    "drifted": "BOOLEAN",
    "share": "DOUBLE",
    "share_limit": "DOUBLE",
    "html": "VARCHAR",
}
DECAY = {
    "batch": "VARCHAR",
    "model_version": "VARCHAR",
    "metric": "VARCHAR",
    "value": "DOUBLE",
    "test_score": "DOUBLE",
    "judged": "BOOLEAN",
    "decayed": "BOOLEAN",
    "why": "VARCHAR",
}
OLD = dt.timedelta(hours=2)


@pytest.fixture
def receiver(project: Project) -> Iterator[Receiver]:
    """A receiver that the pipeline's alerts go to; the sensor has had its first check, before there was a lake."""
    with receiving() as made:
        project.spec_dict["alerts"] = {"webhook": made.url}
        yield made


class Watch:
    """The sensor with its cursor, as the daemon keeps it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.sensor = next(one for one in project.defs().sensors or () if one.name == "loans_alerts")
        self.cursor: str | None = None

    def tick(self) -> str:
        """One tick; what it says."""
        result: Any = self.sensor(dg.build_sensor_context(instance=self.project.instance, cursor=self.cursor))
        if isinstance(result, dg.SkipReason):
            return str(result.skip_message)
        self.cursor = result.cursor
        return str(result.skip_reason.skip_message)

    def states(self) -> dict[str, list[str]]:
        """Event and subject -> states that the alert came into, in order."""
        return watch_states(self.project)


def watch_states(project: Project) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in project.rows("SELECT event, subject, state FROM {p}.alerts ORDER BY written_at"):
        found.setdefault(f"{row['event']} {row['subject']}", []).append(row["state"])
    return found


@pytest.fixture
def watch(project: Project, receiver: Receiver) -> Watch:
    made = Watch(project)
    assert made.tick() == "nothing has been ingested yet"
    return made


def append(project: Project, asset_name: str, types: dict[str, str], *rows: dict[str, Any]) -> None:
    with Lake(project.paths.lake) as lake:
        lake.append([Rows(f"loans.{asset_name}", types, rows)], BY)


def refuse(project: Project, *batches: str, run_id: str = "run-1") -> None:
    with Lake(project.paths.lake) as lake:
        for asset in ("loans/validated_data", "loans/features"):  # what follows is refused, too
            failed = [FailedIngest(f"{asset} refuses {batch} & says <why>", batch) for batch in batches]
            ingest_errors.record(lake, "loans", failed, Commit(asset, run_id))


def promote(project: Project, version: str) -> None:
    with Lake(project.paths.lake) as lake:
        lake.append([versions.alias_event("loans", "champion", version, "all gates passed", "sensor", "")], BY)


def later(monkeypatch: pytest.MonkeyPatch, by: dt.timedelta) -> None:
    moment = versions.now() + by
    monkeypatch.setattr(sensors, "now", lambda: moment)


def test_each_event_is_sent_once(project: Project, receiver: Receiver, watch: Watch) -> None:
    refuse(project, "7")
    promote(project, "1.0.0")
    promote(project, "1.0.1")
    decision = {"decided_by": "sensor", "why": "roc_auc >= 0.6, found 0.5", "run_id": "r"}
    moments = [dt.datetime(2024, 5, day) for day in (1, 2, 3)]
    words = ("pending", "refused", "promoted")
    made = [{**decision, "version": f"1.0.{n}", "decision": words[n], "decided_at": moments[n]} for n in range(3)]
    append(project, "champion", DECISIONS, *made)
    drift = {"model_version": "1.0.0", "share": 0.6, "share_limit": 0.5, "html": "loans/drift/8.html"}
    append(
        project,
        "drift_report",
        DRIFT,
        {**drift, "batch": "8", "drifted": True},
        {**drift, "batch": "9", "drifted": False},
        {**drift, "batch": "10"},
    )
    live = {"model_version": "1.0.0", "metric": "roc_auc", "value": 0.6, "test_score": 0.7, "why": "0.1 below"}
    append(
        project,
        "performance_report",
        DECAY,
        {**live, "batch": "8", "judged": True, "decayed": True},
        {**live, "batch": "8", "metric": "log_loss", "judged": False, "decayed": True},
    )
    watch.tick()
    assert len(receiver.bodies) == sending.PER_TICK  # the others follow
    watch.tick()
    watch.tick()
    expected = {"refused_batch 7", "champion 1.0.0", "champion 1.0.1", "pending 1.0.0", "refused 1.0.1"}
    expected |= {"drift 8", "decay 8"}
    assert set(watch.states()) == expected
    assert {states[-1] for states in watch.states().values()} == {"sent"}
    assert len(receiver.bodies) == len(expected)
    assert watch.tick() == "nothing has happened since the last check"
    watch.cursor = None  # the table knows what was sent
    watch.tick()
    promote(project, "1.0.0")  # the same version again is news
    watch.tick()
    assert len(receiver.bodies) == len(expected) + 1
    texts = [body["text"] for body in receiver.bodies]
    assert sum("version 1.0.0 is the champion, before: 1.0.1" in text for text in texts) == 1
    assert len(set(texts)) == len(texts)


def test_a_message_is_as_slack_takes_it(
    project: Project, receiver: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_ASSETS_PAGES_URL", "http://reports.example.org/")
    refuse(project, "7")
    drift = {"batch": "8", "model_version": "1.0.0", "share": 0.6, "share_limit": 0.5, "drifted": True}
    append(project, "drift_report", DRIFT, {**drift, "html": "loans/drift/8.html"})
    watch.tick()
    refused, drifted = sorted(receiver.bodies, key=lambda body: "Drift" in body["text"])
    for body in (refused, drifted):
        assert set(body) == {"text", "blocks"}
        section, context = body["blocks"]
        assert (section["type"], section["text"]["type"]) == ("section", "mrkdwn")
        assert (context["type"], context["elements"][0]["type"]) == ("context", "mrkdwn")
    said = "batch 7 was refused by validated_data: loans/validated_data refuses 7 &amp; says &lt;why&gt;"
    assert refused["text"] == f"loans: Batch refused: {said}"
    assert refused["blocks"][0]["text"]["text"] == f"*loans: Batch refused*\n{said}"
    assert "<http://reports.example.org/pipelines/loans/batches/8|open>" in drifted["blocks"][1]["elements"][0]["text"]


def test_a_receiver_that_fails_is_tried_again(
    project: Project, receiver: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answers = [500, 500]
    refuse(project, "7")
    watch.tick()
    watch.tick()  # not due yet
    assert len(receiver.bodies) == 1
    for minutes in (2, 9):
        later(monkeypatch, dt.timedelta(minutes=minutes))
        watch.tick()
    assert watch.states() == {"refused_batch 7": ["sending", "failed", "sending", "failed", "sending", "sent"]}
    assert len(receiver.bodies) == 3
    (newest,) = _current(project)
    assert (newest.attempt, newest.detail) == (3, "answered 200")


def _current(project: Project) -> list[alerts.Alert]:
    with Lake(project.paths.lake, read_only=True) as lake:
        return alerts.current(lake, "loans")


def test_it_is_given_up_after_five_attempts(
    project: Project, receiver: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answers = [500] * 9
    refuse(project, "7")
    for number in range(7):
        later(monkeypatch, number * OLD)
        watch.tick()
    assert watch.states() == {"refused_batch 7": [*["sending", "failed"] * 4, "sending", "gave_up"]}
    assert len(receiver.bodies) == 5
    pauses = sum(sending.PAUSES, dt.timedelta())
    assert dt.timedelta(minutes=55) < pauses < dt.timedelta(minutes=65)


def test_a_dead_receiver_fails_no_tick_and_keeps_no_alert(
    project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    project.spec_dict["alerts"] = {"webhook": f"http://127.0.0.1:{port}/s3cret"}
    watch = Watch(project)
    watch.tick()
    refuse(project, "7", "8")
    said = watch.tick()
    assert said == "1 failed, 1 raised"  # the second was not tried: the receiver is down
    later(monkeypatch, dt.timedelta(minutes=2))
    with receiving(port) as back:
        watch.tick()
        assert len(back.bodies) == 2
    assert {states[-1] for states in watch.states().values()} == {"sent"}


def test_a_slow_receiver_holds_a_tick_for_seconds_only(
    project: Project, receiver: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook.ask, "__defaults__", (None, 0.3))
    receiver.answers = [0]
    refuse(project, "6", "7", "8", "9")
    started = time.monotonic()
    watch.tick()
    assert time.monotonic() - started < 5
    last = [states[-1] for states in watch.states().values()]
    assert sorted(last) == ["raised", "raised", "raised", "unknown"]
    watch.tick()
    assert sorted(states[-1] for states in watch.states().values()) == ["sent", "sent", "sent", "unknown"]
    assert len(receiver.bodies) == 4


def test_a_process_that_is_killed_while_it_sends_is_not_repeated(
    project: Project, receiver: Receiver, watch: Watch
) -> None:
    receiver.answers = [0]
    refuse(project, "7")
    code = f"""
        from pathlib import Path
        from ml_assets.graph.alerting import events, sending
        from ml_assets.spec.operation import Alerts
        from ml_assets.lake.lake import Lake
        from ml_assets.tables.versions import now
        with Lake(Path({str(project.paths.lake)!r})) as lake:
            found = events.happened(lake, "loans", [])
            sending.notify(lake, "loans", Alerts(webhook={receiver.url!r}), found, now())
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    deadline = time.monotonic() + 30
    while not receiver.bodies and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert watch.states() == {"refused_batch 7": ["sending"]}
    for _ in range(3):
        watch.tick()
    assert watch.states() == {"refused_batch 7": ["sending", "unknown"]}
    assert len(receiver.bodies) == 1


def test_what_is_not_configured_is_recorded_and_not_sent(project: Project, receiver: Receiver) -> None:
    project.spec_dict["alerts"] = {"webhook": receiver.url, "on": ["champion"]}
    watch = Watch(project)
    watch.tick()
    refuse(project, "7")
    promote(project, "1.0.0")
    watch.tick()
    watch.tick()
    assert watch.states() == {"refused_batch 7": ["not_sent"], "champion 1.0.0": ["sending", "sent"]}
    assert len(receiver.bodies) == 1
    project.spec_dict["alerts"] = {}
    promote(project, "1.0.1")
    Watch(project).tick()
    assert watch.states()["champion 1.0.1"] == ["not_sent"]
    assert "no channel is configured (alerts.webhook, alerts.channels)" in {alert.detail for alert in _current(project)}


def test_what_happened_before_the_first_check_is_old(project: Project, receiver: Receiver) -> None:
    refuse(project, *map(str, range(30)))
    promote(project, "1.0.0")
    watch = Watch(project)  # no cursor, no table: nobody has watched
    assert watch.tick() == "31 old"
    refuse(project, "30", run_id="run-2")
    watch.tick()
    assert [states for states in watch.states().values() if states != ["old"]] == [["sending", "sent"]]
    assert len(receiver.bodies) == 1


def test_a_busy_lake_delays_a_check_and_loses_no_reply(
    project: Project, receiver: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(project, "7")
    monkeypatch.setattr(sensors, "LOCK_TIMEOUT_S", 0.1)
    with project.paths.catalog.write_lock((), 5):
        assert "the lake is busy" in watch.tick()
    assert receiver.bodies == []  # what cannot be recorded is not sent
    write, written = alerts.write, []

    def write_once(*arguments: Any) -> None:
        written.append(arguments)
        if len(written) == 2:
            raise sending.LakeError("Another process has been writing.")
        write(*arguments)

    monkeypatch.setattr(alerts, "write", write_once)
    watch.tick()
    assert watch.states() == {"refused_batch 7": ["sending"]}
    watch.tick()
    assert watch.states() == {"refused_batch 7": ["sending", "sent"]}
    assert len(receiver.bodies) == 1


def test_no_secret_is_kept(project: Project, receiver: Receiver, watch: Watch) -> None:
    receiver.answers = [404]
    with Lake(project.paths.lake) as lake:
        failed = [FailedIngest(f"cannot reach {receiver.url} nor s3://key:pa55word@bucket/x", "7")]
        ingest_errors.record(lake, "loans", failed, BY)
    watch.tick()
    rows = json.dumps(project.rows("FROM {p}.alerts"), default=str)
    assert "s3cret" not in rows
    assert "pa55word" not in rows
    remembered = [file.read_text() for file in (project.paths.sensors / "loans_alerts").iterdir()]
    assert "snapshot" in remembered[-1] + remembered[0]
    assert "s3cret" not in str(remembered)
    assert "cannot reach http://127.0.0.1" in rows


# -- files ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_ingested_is_an_alert(project: Project, receiver: Receiver, watch: Watch) -> None:
    """A file without a declared column, the same bytes twice, a name that does not match; each once, whatever scans."""
    project.write(1)
    project.write(2, loans(2).drop(columns="income"))
    (project.source / "loans_3.parquet").write_bytes((project.source / "loans_1.parquet").read_bytes())
    (project.source / "notes.txt").write_text("see mail")
    for _ in range(2):
        assert project.arrive().success
        watch.tick()
    assert watch.states() == {
        "rejected_file loans_2.parquet": ["sending", "sent"],
        "duplicate_file loans_3.parquet": ["sending", "sent"],
        "rejected_file notes.txt": ["sending", "sent"],
    }
    assert {alert.severity for alert in _current(project) if alert.event == "rejected_file"} == {"warning"}
    project.write(2, loans(2).drop(columns="region"))  # other bytes: news
    assert project.arrive().success
    watch.tick()
    assert watch.states()["rejected_file loans_2.parquet"] == ["sending", "sent"] * 2


def test_files_of_a_lake_of_the_first_format_are_old(project: Project, receiver: Receiver) -> None:
    (project.source / "notes.txt").write_text("see mail")
    assert project.arrive().success
    known = alerts.raised("refused_batch", "7", "text", ["run-1"]).as_row()
    types = {name: kind for name, kind in alerts.ALERTS.types.items() if name not in ("channel", "severity")}
    append(project, "alerts", types, {name: known[name] for name in types})
    Watch(project).tick()
    refuse(project, "8")
    Watch(project).tick()
    assert watch_states(project)["rejected_file notes.txt"] == ["old"]
    assert watch_states(project)["refused_batch 8"] == ["sending", "sent"]


# -- the digest -----------------------------------------------------------------------------------------------------


def test_a_digest_a_day(project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    project.spec_dict["alerts"] = {"webhook": receiver.url, "digest": "08:00", "on": ["digest"]}
    watch = Watch(project)
    watch.tick()
    day = dt.datetime(2024, 5, 1)

    def tick(hour: float, days: int = 0) -> list[str]:
        monkeypatch.setattr(sensors, "now", lambda: day + dt.timedelta(days=days, hours=hour))
        watch.tick()
        return [body["text"] for body in receiver.bodies]

    promote(project, "1.0.0")
    assert tick(7.99) == []
    assert tick(8) == ["loans: Daily digest: Nothing needs attention."]
    assert len(tick(12)) == 1
    watch.cursor = None  # another daemon, or one that has lost what it remembered
    assert len(tick(13)) == 1
    refuse(project, "7")
    assert len(tick(7, days=1)) == 1
    assert len(tick(23, days=1)) == 2  # the daemon was down at 08:00
    text = receiver.bodies[-1]["text"]
    assert "1 thing needs attention:\n- batch 7 refused by validated_data" in text
    assert "next: correct the file or the YAML" in text
    assert [alert.severity for alert in _current(project) if alert.event == "digest"] == ["critical", "info"]
    remembered = watch.cursor
    assert len(tick(8, days=2)) == 3
    watch.cursor = remembered  # a tick that was lost
    refuse(project, "8", run_id="run-2")  # another text is no other digest
    assert len(tick(9, days=2)) == 3


# -- failed runs ----------------------------------------------------------------------------------------------------


def fail(project: Project, job: str, error: str, **tags: str) -> str:
    """A job of that name that fails; its run's id."""

    @dg.op
    def broken() -> None:
        raise dg.Failure(error)

    @dg.job(name=job, tags=tags)
    def made() -> None:
        broken()

    return made.execute_in_process(instance=project.instance, raise_on_error=False).run_id


def test_a_failed_run_is_an_alert_unless_dagster_retries_it(
    project: Project, receiver: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_ASSETS_UI_URL", "http://dagster.example.org")
    run_id = fail(project, "loans_maintenance", "the disk is full")
    fail(project, "loans_2_train", "of another pipeline")
    fail(project, "loans_train", "killed", **{"dagster/will_retry": "true"})
    promote(project, "1.0.0")  # makes the lake
    watch.tick()
    watch.tick()
    assert set(watch.states()) == {f"run_failure {run_id}", "champion 1.0.0"}
    (body,) = [body for body in receiver.bodies if "Run failed" in body["text"]]
    assert "loans_maintenance failed: broken: the disk is full" in body["text"]
    assert f"http://dagster.example.org/runs/{run_id}" in json.dumps(body)
    assert watch.tick() == "nothing has happened since the last check"
    other = fail(project, "loans_maintenance", "again")  # a failed run need not write to the lake
    watch.tick()
    assert watch.states()[f"run_failure {other}"] == ["sending", "sent"]


def test_a_run_that_failed_because_a_batch_was_refused_is_one_alert(
    project: Project, receiver: Receiver, watch: Watch
) -> None:
    error = "100% of the rows break a rule"
    run_id = fail(project, "loans_ingest", f"{error}\n  next: mend it")
    other = fail(project, "loans_ingest", "something else")
    with Lake(project.paths.lake) as lake:
        for one in (run_id, other):
            ingest_errors.record(lake, "loans", [FailedIngest(error, "7")], Commit("loans/validated_data", one))
    watch.tick()
    assert sorted(watch.states()) == sorted(["refused_batch 7", f"run_failure {other}"])
    assert sum("was refused" in body["text"] for body in receiver.bodies) == 2  # of two runs


def test_a_training_that_failed_is_an_alert_beside_the_refusal_of_its_version(
    project: Project, receiver: Receiver, watch: Watch
) -> None:
    """A refusal fails no run; what does is another matter, such as a champion whose bundle was changed."""
    run_id = fail(project, "loans_train", "A file of the bundle was changed.")
    refused = {"version": "1.0.1", "decision": "refused", "why": "too bad", "decided_at": dt.datetime(2024, 5, 1)}
    append(project, "champion", DECISIONS, {**refused, "run_id": run_id})
    watch.tick()
    assert sorted(watch.states()) == ["refused 1.0.1", f"run_failure {run_id}"]
    assert len(receiver.bodies) == 2
