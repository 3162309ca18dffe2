"""The watch beside the daemon: a heartbeat that stops and comes back, and real receivers."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ml_assets.doctor import watch
from ml_assets.lake.paths import Paths
from ml_assets.project import project_at
from ml_assets_tests.conftest import SPEC
from ml_assets_tests.mailbox import mailbox
from ml_assets_tests.receiver import receiving


class Ticks(threading.Event):
    """Stops the watch after these steps; between two checks each is done."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        super().__init__()
        self.steps = list(steps)

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout == watch.EVERY_S
        if not self.steps:
            return True
        self.steps.pop(0)()
        return False


def test_the_channels_are_told_once_when_the_daemon_goes_down_and_when_it_is_back(
    tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = [
        {"name": "team", "address": "{{ env.LOANS_TEAM }}"},
        {"name": "again", "address": "{{ env.LOANS_TEAM }}"},  # one address: one message
        {"name": "mail", "address": "{{ env.LOANS_MAIL }}", "severity": "critical"},  # told of the end only
        {"name": "other", "address": "{{ env.LOANS_OTHER }}", "on": ["drift"]},
    ]
    root = write_project(tmp_path, {**SPEC, "alerts": {"channels": channels}})
    home, said = Paths.of(root).data / "dagster", list[str]()
    (home / "history").mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(home / "history" / "runs.db")) as found:
        found.execute("CREATE TABLE daemon_heartbeats (timestamp)")

    def beat(minutes_ago: float) -> None:
        moment = dt.datetime.now(dt.UTC).replace(tzinfo=None) - dt.timedelta(minutes=minutes_ago)
        with contextlib.closing(sqlite3.connect(home / "history" / "runs.db")) as found, found:
            found.execute("DELETE FROM daemon_heartbeats")
            found.execute("INSERT INTO daemon_heartbeats VALUES (?)", [moment.isoformat(" ")])

    with receiving() as receiver, mailbox() as box:
        monkeypatch.setenv("LOANS_TEAM", f"json://127.0.0.1:{receiver.port}/s3cret")
        monkeypatch.setenv("LOANS_OTHER", f"json://127.0.0.1:{receiver.port}/other")
        monkeypatch.setenv("LOANS_MAIL", box.address)

        def no_daemon() -> None:
            beat(10)
            receiver.answers = [500]  # not accepted: sent again at the next check

        beat(0)
        steps = Ticks(no_daemon, lambda: None, lambda: None, lambda: beat(0), lambda: beat(0))
        watch.watch(project_at(root), home, said.append, steps)
    messages = [body["message"].splitlines()[0] for body in receiver.bodies]
    down = (
        "Dagster's daemon is down: no file is ingested, no model retrained, no alert sent; its last heartbeat was at "
    )
    assert [text[: len(down)] for text in messages] == [down, down, "Dagster's daemon is up again"]
    assert [body["type"] for body in receiver.bodies] == ["failure", "failure", "info"]
    assert [mail["Subject"] for mail in box.mails] == [f"{root.name}: Daemon"]
    assert "s3cret" not in str(said)
