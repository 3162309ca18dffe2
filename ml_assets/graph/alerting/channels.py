"""Sends one alert to one channel: a webhook in Slack's format, or an address of Apprise.

Addresses are secrets. No text of this module holds any part of one but a webhook's host: what Apprise logs meanwhile
is read here for the phrases below, and goes nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ml_assets.escaping import without_secrets
from ml_assets.graph import webhook
from ml_assets.graph.alerting import messages
from ml_assets.graph.webhook import Reply
from ml_assets.spec.operation import WEBHOOK, Channel
from ml_assets.tables.alerts import Alert

if TYPE_CHECKING:
    import apprise

LONGEST_S = 10  # of one message, with all attempts that its address asks for
TYPES = {"info": "info", "warning": "warning", "critical": "failure"}  # severity -> Apprise's word
# What may be said of a message that was not accepted.
STATUS = re.compile(r"\berror=(\d{3})\b|\((\d{3}), b?['\"]")
PHRASES = re.compile(
    r"Connection refused|Name or service not known|Temporary failure in name resolution|No route to host|"
    r"Network is unreachable|certificate verify failed|[Rr]ead timed out|[Tt]imed out|Connection aborted|"
    r"Connection unexpectedly closed|Connection reset by peer"
)
# It went out, and no reply came: a second one could be a duplicate.
AMBIGUOUS = re.compile(r"[Rr]ead timed out|Connection aborted")
HEARD: ContextVar[list[str] | None] = ContextVar("heard", default=None)


def deliver(channel: Channel, pipeline: str, alert: Alert) -> Reply:
    """Send an alert. Never raises, whatever a service's library does: the other channels are sent to all the same."""
    try:
        return (
            _by_webhook(channel, pipeline, alert) if channel.name == WEBHOOK else _by_apprise(channel, pipeline, alert)
        )
    except Exception as error:  # its text may hold the address
        return Reply("failed", f"not accepted ({type(error).__name__})")


def _by_webhook(channel: Channel, pipeline: str, alert: Alert) -> Reply:
    address = channel.address or ""
    reply = webhook.ask(address, messages.for_slack(pipeline, alert))
    return Reply(reply.outcome, without_secrets(reply.detail, address))


def _by_apprise(channel: Channel, pipeline: str, alert: Alert) -> Reply:
    with _listening() as heard:
        address = channel.address or ""
        service = _service(address)
        if service is None:
            return Reply("failed", unknown_address(channel))
        import apprise

        sender = apprise.Apprise(asset=service.asset)
        sender.add(service)
        # Plain text: where a service wants HTML or Markdown, Apprise escapes what would be any.
        result = sender.notify(
            body=messages.plain(alert),
            title=messages.title(pipeline, alert),
            notify_type=TYPES[alert.severity],
            body_format="text",
        )
    return Reply("ok", "accepted") if result else _refusal(result.status.name, "\n".join(heard))


def service_name(channel: Channel) -> str | None:
    """What kind of service the address of a channel is of, such as E-Mail; None where Apprise knows none."""
    with _listening():
        service = _service(channel.address or "")
    return None if service is None else str(service.service_name)


def unknown_address(channel: Channel) -> str:
    """What is wrong with an address that no service can be made of."""
    return f"Apprise knows no such address; `apprise --details` shows the forms ({channel.name})"


def _service(address: str) -> apprise.NotifyBase | None:
    """The service of an address; nothing is read but the address itself: no configuration, no plugins of a folder."""
    import apprise

    asset = apprise.AppriseAsset(
        app_id="ml_assets",
        app_desc="ml_assets",
        app_url="",
        image_url_mask="",  # else messages would show pictures of a foreign server
        image_url_logo="",
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        pgp_autogen=False,
        pem_autogen=False,
        http_redirects=False,
        allow_templates=False,
        async_mode=False,
        service_timeout=LONGEST_S,
    )
    return apprise.Apprise.instantiate(address, asset=asset)


def _refusal(status: str, heard: str) -> Reply:
    if status == "TIMEOUT" or AMBIGUOUS.search(heard):
        return Reply("unknown", "sent, and no reply came")
    code = STATUS.search(heard)
    if code:
        return Reply("failed", f"answered {code[1] or code[2]}")
    phrase = PHRASES.search(heard)
    return Reply("failed", phrase[0] if phrase else "not accepted")


class _Ear(logging.Filter):
    """Takes every record of Apprise while an alert is sent: it may hold the address."""

    def filter(self, record: logging.LogRecord) -> bool:
        heard = HEARD.get()
        if heard is None:
            return record.levelno >= logging.WARNING
        with contextlib.suppress(Exception):  # a record whose arguments do not fit
            heard.append(record.getMessage())
        return False


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    logger: Any = logging.getLogger("apprise")
    if not any(isinstance(one, _Ear) for one in logger.filters):
        logger.addFilter(_Ear())
        logger.setLevel(logging.DEBUG)  # the cause of a failure is logged there
    heard: list[str] = []
    token = HEARD.set(heard)
    try:
        yield heard
    finally:
        HEARD.reset(token)
