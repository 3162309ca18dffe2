"""`ml-assets alerts`: what was told, and a test message to a real receiver."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ml_assets.cli import main
from ml_assets.cli.group import console
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.tables import alerts
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets_tests.conftest import SPEC
from ml_assets_tests.ports import free_port
from ml_assets_tests.receiver import receiving


@pytest.fixture
def paths(tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A project whose webhook comes from the environment, with a lake that nobody has told of."""
    root = write_project(tmp_path, {**SPEC, "alerts": {"webhook": "{{ env.LOANS_HOOK }}"}})
    made = Paths.of(root)
    with Lake(made.lake) as lake:
        lake.append([ARRIVALS.rows("loans", [])], Commit("loans/arrivals"))
    monkeypatch.chdir(root)
    monkeypatch.setattr(console, "width", 160)
    return made


def run(*arguments: str) -> tuple[int, str]:
    shown = CliRunner().invoke(main, ["alerts", *arguments])
    assert "Traceback" not in shown.output
    return shown.exit_code, shown.output


def test_a_test_message_is_sent_and_recorded(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("loans") == (0, "loans has no alerts.\n")
    with receiving() as receiver:
        monkeypatch.setenv("LOANS_HOOK", receiver.url)
        code, said = run("loans", "--test")
        assert code == 0
        assert said.split()[-1] == "200"
        assert " webhook " in said
        receiver.answers = [404]
        assert run("loans", "--test")[0] == 1
    monkeypatch.setenv("LOANS_HOOK", f"http://127.0.0.1:{free_port()}/s3cret")
    code, said = run("loans", "--test")
    assert code == 1
    assert "Connection refused" in said
    assert "s3cret" not in said
    assert [set(body) for body in receiver.bodies] == [{"text", "blocks"}] * 2
    found = json.loads(run("loans", "--json")[1])
    assert [list(row) for row in found] == [list(alerts.Alert.__dataclass_fields__)] * 3
    assert [row["state"] for row in found] == ["gave_up", "gave_up", "sent"]
    assert "s3cret" not in json.dumps(found)
    assert len(json.loads(run("loans", "--json", "--limit", "1")[1])) == 1
    assert "answered 404" in run("loans")[1]


def test_mistakes_are_answered(paths: Paths) -> None:
    code, said = run("loans", "--test")  # the variable is not set
    assert code == 1
    assert "Neither alerts.webhook nor alerts.channels names an address" in said
    assert "LOANS_HOOK" in said
    assert "did you mean 'loans'?" in run("loan")[1]
    assert "did you mean 'loans'?" in run("loan", "--test")[1]


def test_the_newest_row_of_an_alert_is_its_state(paths: Paths) -> None:
    with Lake(paths.lake) as lake:
        one = alerts.raised("drift", "7", "batch 7 has drifted", ["1.0.0"])
        sending = one.become("sending", "", one.written_at, 1)  # within the same microsecond
        alerts.write(lake, "loans", [one, sending, sending.become("sent", "answered 200", one.written_at)])
        alerts.write(lake, "loans", [alerts.raised("drift", "8", "batch 8 has drifted", ["1.0.0"])])
    assert [row["state"] for row in json.loads(run("loans", "--json")[1])] == ["raised", "sent"]


def test_every_channel_is_tested_and_shown(
    tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = [
        {"name": "team", "address": "{{ env.LOANS_TEAM }}", "severity": "critical"},  # filters do not count
        {"name": "dead", "address": "{{ env.LOANS_DEAD }}"},
        {"name": "unset", "address": "{{ env.LOANS_UNSET }}"},
    ]
    root = write_project(tmp_path, {**SPEC, "alerts": {"channels": channels}})
    monkeypatch.chdir(root)
    monkeypatch.setattr(console, "width", 160)
    with receiving() as receiver:
        (root / ".env").write_text(f"LOANS_TEAM=json://127.0.0.1:{receiver.port}/s3cret\n")  # as the daemon reads it
        monkeypatch.setenv("LOANS_DEAD", f"json://127.0.0.1:{free_port()}/s3cret")
        with Lake(Paths.of(root).lake) as lake:
            lake.append([ARRIVALS.rows("loans", [])], Commit("loans/arrivals"))
        shown = CliRunner().invoke(main, ["alerts", "loans", "--test", "--json"])
    assert shown.exit_code == 1
    sent = {row["channel"]: (row["state"], row["detail"]) for row in json.loads(shown.stdout)}
    assert sent == {
        "team": ("sent", "accepted"),
        "dead": ("gave_up", "Connection refused"),
        "unset": ("not_sent", "the channel's address is empty: set its variable"),
    }
    assert [body["title"] for body in receiver.bodies] == ["loans: Test"]
    listed = run("loans")[1]
    assert all(word in listed for word in ("team", "dead", "Connection refused"))
    assert "s3cret" not in listed + shown.output
