"""What becomes of an alert in several channels; the lake is real, and so are the receivers."""

from __future__ import annotations

import datetime as dt
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from ml_assets.errors import LakeBusy
from ml_assets.graph.alerting import sending
from ml_assets.graph.alerting.sending import Notified, notify
from ml_assets.graph.webhook import Reply
from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.spec.operation import Alerts, Channel
from ml_assets.tables import alerts, versions
from ml_assets.tables.alerts import ALERTS, Alert
from ml_assets_tests.mailbox import Mailbox, mailbox
from ml_assets_tests.ports import free_port
from ml_assets_tests.receiver import Receiver, receiving

NOW = versions.now()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture(autouse=True)
def _begins_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent is written at the time of the clock: this module may have been imported minutes ago."""
    monkeypatch.setattr(sys.modules[__name__], "NOW", versions.now())


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mailbox() as made:
        yield made


def event(name: str, subject: str = "7") -> Alert:
    return replace(alerts.raised(name, subject, f"{name} of {subject}", []), raised_at=NOW, written_at=NOW)


def check(lake: Lake, configured: Alerts, *found: Alert, minutes: float = 0, **how: Any) -> Notified:
    return notify(lake, "loans", configured, found, NOW + dt.timedelta(minutes=minutes), **how)


def states(lake: Lake) -> dict[str, str]:
    """Event and channel -> its state now."""
    return {f"{one.event} {one.channel}".strip(): one.state for one in alerts.current(lake, "loans")}


def history(lake: Lake, channel: str) -> list[str]:
    rows = ALERTS.query(lake, "loans", "SELECT state FROM {t} WHERE channel = ? ORDER BY written_at", [channel])
    return [row["state"] for row in rows]


def test_one_channel_that_is_down_stops_no_other(lake: Lake, receiver: Receiver, box: Mailbox) -> None:
    configured = Alerts(
        webhook=receiver.url,
        channels=[
            Channel(name="dead", address=f"json://127.0.0.1:{free_port()}/s3cret"),
            Channel(name="mail", address=box.address),
            Channel(name="wrong", address="nowhere://s3cret"),
        ],
    )
    done = check(lake, configured, event("drift"))
    assert states(lake) == {
        "drift webhook": "sent",
        "drift dead": "failed",
        "drift mail": "sent",
        "drift wrong": "failed",
    }
    assert done.next_at is not None
    for minutes in (2, 8, 24, 70, 200):
        check(lake, configured, event("drift"), minutes=minutes)
    assert states(lake)["drift dead"] == "gave_up"
    assert history(lake, "dead") == [*["sending", "failed"] * 4, "sending", "gave_up"]
    assert history(lake, "mail") == ["sending", "sent"]
    assert (len(receiver.bodies), len(box.mails)) == (1, 1)
    assert "s3cret" not in str(alerts.current(lake, "loans"))


def test_a_slow_channel_delays_no_other(lake: Lake) -> None:
    """Side by side: the slow one ends only when the quick one has sent."""
    quick_is_done = threading.Event()

    def send(channel: Channel, _pipeline: str, _alert: Alert) -> Reply:
        if channel.name == "slow":
            return Reply("ok" if quick_is_done.wait(5) else "failed", "")
        quick_is_done.set()
        return Reply("ok", "")

    both = Alerts(channels=[Channel(name=name, address="json://x") for name in ("slow", "quick")])
    check(lake, both, event("drift"), send=send)
    assert states(lake) == {"drift slow": "sent", "drift quick": "sent"}


def test_a_channel_takes_the_events_and_severities_that_it_asks_for(lake: Lake, receiver: Receiver) -> None:
    address = f"json://127.0.0.1:{receiver.port}"
    configured = Alerts(
        channels=[
            Channel(name="all", address=address),
            Channel(name="urgent", address=address, severity="critical"),
            Channel(name="approvals", address=address, on=["pending"]),
        ],
        on=["run_failure", "drift", "champion"],
    )
    for name in ("run_failure", "drift", "pending", "champion", "decay"):
        check(lake, configured, event(name))
    assert states(lake) == {
        "run_failure all": "sent",
        "run_failure urgent": "sent",
        "drift all": "sent",
        "pending approvals": "sent",
        "champion all": "sent",
        "decay": "not_sent",  # no channel asks for it
    }


def test_a_channel_without_an_address_says_so_and_a_new_one_gets_no_old_news(lake: Lake, receiver: Receiver) -> None:
    address = f"json://127.0.0.1:{receiver.port}"
    configured = Alerts(channels=[Channel(name="mail", address=None)])
    check(lake, configured, event("drift"))
    (found,) = alerts.current(lake, "loans")
    assert (found.state, found.detail) == ("not_sent", "the channel's address is empty: set its variable")
    later = Alerts(channels=[Channel(name="mail", address=address), Channel(name="new", address=address)])
    check(lake, later, event("drift"))
    check(lake, later, event("drift"), event("decay"))
    assert states(lake) == {"drift mail": "not_sent", "decay mail": "sent", "decay new": "sent"}
    assert len(receiver.bodies) == 2


def test_a_channel_that_was_removed_is_not_waited_for(lake: Lake) -> None:
    dead = Alerts(channels=[Channel(name="dead", address="nowhere://x")])
    assert check(lake, dead, event("drift")).next_at is not None
    assert check(lake, Alerts(), event("drift"), minutes=9).next_at is None
    assert states(lake) == {"drift dead": "failed"}


def test_one_daemon_at_a_time_sends(lake: Lake, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two daemons find the same event: while one sends, the other waits for its next check, and repeats nothing."""
    monkeypatch.setattr(sending, "LOCK_S", 0.05)
    configured = Alerts(channels=[Channel(name="team", address=f"json://127.0.0.1:{receiver.port}")])
    refused: list[LakeBusy] = []

    def send(channel: Channel, pipeline: str, alert: Alert) -> Reply:
        with Lake(lake.folder) as other, pytest.raises(LakeBusy) as error:
            check(other, configured, event("drift"))
        refused.append(error.value)
        return sending.channels.deliver(channel, pipeline, alert)

    check(lake, configured, event("drift"), send=send)
    with Lake(lake.folder) as other:
        check(other, configured, event("drift"))
    assert "sending alerts of loans" in str(refused[0])
    assert history(lake, "team") == ["sending", "sent"]
    assert len(receiver.bodies) == 1


def test_alerts_of_the_first_format_are_those_of_the_webhook(lake: Lake, receiver: Receiver) -> None:
    old = [event("drift", "6").become("sent", "answered 200", NOW), event("decay", "6").become("failed", "", NOW, 1)]
    types = {name: kind for name, kind in ALERTS.types.items() if name not in ("channel", "severity")}
    rows = [{name: value for name, value in one.as_row().items() if name in types} for one in old]
    lake.append([Rows("loans.alerts", types, rows)], Commit("loans/alerts"))
    assert alerts.is_of_first_format(lake, "loans")
    assert states(lake) == {"drift webhook": "sent", "decay webhook": "failed"}
    check(lake, Alerts(webhook=receiver.url), event("drift", "6"), event("decay", "6"), minutes=9)
    assert not alerts.is_of_first_format(lake, "loans")
    assert states(lake) == {"drift webhook": "sent", "decay webhook": "sent"}
    assert {one.event: one.severity for one in alerts.current(lake, "loans")} == {
        "drift": "warning",
        "decay": "critical",
    }
    assert len(receiver.bodies) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"channels": [{"name": "a", "address": "x"}, {"name": "a", "address": "y"}]}, "two channels are named 'a'"),
        ({"channels": [{"name": "webhook", "address": "x"}]}, "two channels are named 'webhook'"),
        ({"channels": [{"name": "a"}]}, "the key 'address' is missing"),
        ({"channels": [{"name": "a", "address": "x", "severity": "warn"}]}, "did you mean 'warning'?"),
        ({"digest": "8:00"}, "should match pattern"),
    ],
)
def test_mistakes_in_the_yaml(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("?", r"\?")):
        Alerts.model_validate(wrong)


@pytest.mark.parametrize(("written", "read"), [("'08:00'", "08:00"), ("08:00", "08:00"), ("18:05", "18:05")])
def test_a_time_of_day_needs_no_quotes(written: str, read: str) -> None:
    assert Alerts.model_validate(yaml.safe_load(f"digest: {written}")).digest == read
