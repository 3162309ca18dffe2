"""One alert in one channel, each against a real receiver: a webhook, an HTTP service of Apprise, e-mail."""

from __future__ import annotations

import logging

import pytest

from ml_assets.graph.alerting import channels, messages
from ml_assets.graph.alerting.channels import deliver, service_name
from ml_assets.spec.operation import WEBHOOK, Channel
from ml_assets.tables import alerts
from ml_assets_tests.mailbox import mailbox
from ml_assets_tests.ports import free_port
from ml_assets_tests.receiver import receiving

ALERT = alerts.raised("run_failure", "run-1", "loans_train failed: <b> & *x*", [], "http://pages.example.org/")


def channel(address: str, name: str = "team") -> Channel:
    return Channel(name=name, address=address)


def test_a_webhook_gets_slacks_format_and_a_service_of_apprise_its_own() -> None:
    with receiving() as receiver:
        assert deliver(channel(receiver.url, WEBHOOK), "loans", ALERT).outcome == "ok"
        assert deliver(channel(f"json://127.0.0.1:{receiver.port}/s3cret"), "loans", ALERT).outcome == "ok"
    slack, json = receiver.bodies
    assert slack == messages.for_slack("loans", ALERT)
    assert (json["title"], json["type"]) == ("loans: Run failed", "failure")  # critical
    text, context, link = json["message"].splitlines()
    assert text == "loans_train failed: <b> & *x*"
    assert context.startswith("critical: run_failure of run-1, ")
    assert link == "http://pages.example.org/"


@pytest.mark.parametrize(
    ("event", "kind"), [("champion", "info"), ("drift", "warning"), ("decay", "failure"), ("rejected_file", "warning")]
)
def test_the_severity_of_an_event_is_apprises_type(event: str, kind: str) -> None:
    with receiving() as receiver:
        deliver(channel(f"json://127.0.0.1:{receiver.port}"), "loans", alerts.raised(event, "7", "text", []))
    assert receiver.bodies[0]["type"] == kind


def test_an_email_arrives_as_it_was_written() -> None:
    with mailbox() as box:
        assert deliver(channel(box.address), "loans", ALERT).detail == "accepted"
        box.refuses = True
        assert deliver(channel(box.address), "loans", ALERT).detail == "answered 554"
    (mail,) = box.mails
    assert (mail["Subject"], mail["To"]) == ("loans: Run failed", "team@example.org")
    assert mail.get_content().splitlines()[0] == "loans_train failed: <b> & *x*"


@pytest.mark.parametrize(
    ("answer", "outcome", "detail"),
    [
        (404, "failed", "answered 404"),
        (302, "failed", "answered 302"),  # not followed: what is meant for one host is not sent to another
        (0, "unknown", "sent, and no reply came"),
    ],
)
def test_what_is_not_accepted_is_told_without_the_address(
    answer: int, outcome: str, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as receiver, caplog.at_level(logging.DEBUG):
        receiver.answers = [answer]
        reply = deliver(channel(f"json://us3r:passw0rd@127.0.0.1:{receiver.port}/s3cret?rto=0.3"), "loans", ALERT)
    assert (reply.outcome, reply.detail) == (outcome, detail)
    assert [record for record in caplog.records if record.name == "apprise"] == []


@pytest.mark.parametrize(
    ("address", "detail"),
    [
        ("json://us3r:passw0rd@127.0.0.1:PORT/s3cret", "Connection refused"),
        ("mailto://us3r:passw0rd@127.0.0.1:PORT?to=a@b.example&from=c@d.example", "Connection refused"),
        ("nowhere://s3cret", "Apprise knows no such address"),
        ("s3cret", "Apprise knows no such address"),
        ("tgram://s3cret/1", "Apprise knows no such address"),
    ],
)
def test_no_failure_raises_or_shows_the_address(
    address: str, detail: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        reply = deliver(channel(address.replace("PORT", str(free_port()))), "loans", ALERT)
    assert reply.outcome == "failed"
    assert detail in reply.detail
    said = reply.detail + caplog.text + str(capfd.readouterr())
    assert not any(secret in said for secret in ("s3cret", "passw0rd", "us3r"))


def test_an_address_names_its_service() -> None:
    assert service_name(channel("mailto://user:word@example.org")) == "E-Mail"
    assert service_name(channel("nowhere://x")) is None
    assert service_name(Channel(name="unset", address=None)) is None


def test_a_service_that_raises_is_a_failure_of_its_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(address: str) -> None:
        raise RuntimeError(address)

    monkeypatch.setattr(channels, "_service", broken)
    reply = deliver(channel("json://s3cret"), "loans", ALERT)
    assert (reply.outcome, reply.detail) == ("failed", "not accepted (RuntimeError)")


def test_a_configuration_or_a_list_is_no_address(tmp_path: object) -> None:
    """Apprise can read further addresses from a file or a server; here an address is one, and of a service."""
    with receiving() as receiver:
        for address in (
            f"file://{tmp_path}/apprise.yml",
            f"include {receiver.url}",
            f"nowhere://x json://127.0.0.1:{receiver.port}",
        ):
            assert deliver(channel(address), "loans", ALERT).outcome == "failed", address
    assert receiver.bodies == []
