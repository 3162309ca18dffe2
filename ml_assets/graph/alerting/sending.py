"""From events to messages: what is raised, what is sent now, and what becomes of it.

At most once for each event. Before requests go out, the alerts are written as `sending`; an alert that is found in that
state later was being sent by a process that was killed, and nobody knows whether its request arrived: it becomes
`unknown` and is not sent again. Only what surely was not delivered is.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ml_assets.errors import LakeError
from ml_assets.escaping import slack, without_secrets
from ml_assets.graph import webhook
from ml_assets.graph.webhook import Reply
from ml_assets.lake.lake import Lake
from ml_assets.spec.operation import Alerts
from ml_assets.tables import alerts
from ml_assets.tables.alerts import Alert

PER_TICK = 4  # messages; each may take up to 10 s, and after 10 s in all no other one is begun
BUDGET_S = 10.0
# After the first attempt, the second, ...; then it is given up.
PAUSES = [dt.timedelta(minutes=minutes) for minutes in (1, 5, 15, 40)]
TITLES = {
    "run_failure": "Run failed",
    "refused_batch": "Batch refused",
    "drift": "Drift",
    "decay": "Live score decayed",
    "pending": "Version waits for approval",
    "refused": "Version refused",
    "champion": "New champion",
    "test": "Test",
}
Send = Callable[[str, Mapping[str, Any]], Reply]


@dataclass
class Notified:
    """What one check did.

    Args:
        written: Alerts that came into a new state, in their last one.
        unwritten: Those of them that the lake could not take; for the next check.
        next_at: When the next one is due to be sent; None where none waits.
    """

    written: list[Alert] = field(default_factory=list)
    unwritten: list[Alert] = field(default_factory=list)
    next_at: dt.datetime | None = None


def notify(
    lake: Lake,
    pipeline: str,
    configured: Alerts,
    found: Iterable[Alert],
    moment: dt.datetime,
    watched: bool = True,
    unwritten: Sequence[Alert] = (),
    send: Send = webhook.ask,
) -> Notified:
    """Record new events, send what is due, record the replies: at most two commits.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        configured: Who is notified of what.
        found: All events.
        moment: Now, UTC.
        watched: False at the first check of a lake that exists already: what has happened is old, and not sent.
        unwritten: What the last check could not write.
        send: Sends one message.

    Raises:
        LakeError: The lake cannot be written; nothing was sent.
    """
    states = {alert.alert_id: alert for alert in alerts.current(lake, pipeline)}
    before = dict(states)
    states |= {alert.alert_id: alert for alert in unwritten}
    for alert in states.values():
        if alert.state == "sending":
            why = "the process that sent it exited before the reply; not sent again"
            states[alert.alert_id] = alert.become("unknown", why, moment)
    for alert in found:
        if alert.alert_id not in states:
            states[alert.alert_id] = _first_state(alert, configured, moment, watched)
    sending = _due(states.values(), moment)[:PER_TICK] if configured.webhook else []
    sending = [alert.become("sending", "", moment, alert.attempt + 1) for alert in sending]
    states |= {alert.alert_id: alert for alert in sending}
    alerts.write(lake, pipeline, [alert for alert in states.values() if alert is not before.get(alert.alert_id)])
    replied = _send(pipeline, str(configured.webhook), sending, send) if sending else []
    states |= {alert.alert_id: alert for alert in replied}
    done = Notified([alert for alert in states.values() if alert is not before.get(alert.alert_id)])
    try:
        alerts.write(lake, pipeline, replied)
    except LakeError:
        done.unwritten = replied
    waiting = [_due_at(alert) for alert in states.values() if alert.state in ("raised", "failed")]
    done.next_at = min(waiting) if waiting and configured.webhook else None
    return done


def _first_state(alert: Alert, configured: Alerts, moment: dt.datetime, watched: bool) -> Alert:
    alert = replace(alert, raised_at=moment, written_at=moment)
    if not watched:
        return replace(alert, state="old", detail="it happened before the first check for alerts")
    if alert.event not in configured.on:
        return replace(alert, state="not_sent", detail=f"alerts.on does not name {alert.event}")
    if configured.webhook is None:
        return replace(alert, state="not_sent", detail="no webhook is configured (alerts.webhook)")
    return alert


def _due(states: Iterable[Alert], moment: dt.datetime) -> list[Alert]:
    """What may be sent now, the oldest first."""
    waiting = [alert for alert in states if alert.state in ("raised", "failed") and _due_at(alert) <= moment]
    return sorted(waiting, key=lambda alert: (alert.raised_at, alert.alert_id))


def _due_at(alert: Alert) -> dt.datetime:
    return alert.written_at if alert.state == "raised" else alert.written_at + PAUSES[alert.attempt - 1]


def _send(pipeline: str, url: str, sending: Sequence[Alert], send: Send) -> list[Alert]:
    """Send one after the other. Where one is not delivered, the others wait for the next check."""
    deadline, replied, is_up = time.monotonic() + BUDGET_S, [], True
    for alert in sending:
        if not is_up or time.monotonic() > deadline:
            replied.append(alert.become("raised", "not tried: the receiver is slow or down", _now(), alert.attempt - 1))
            continue
        reply = send(url, message(pipeline, alert))
        is_up = reply.outcome == "ok"
        replied.append(_after(alert, reply, without_secrets(reply.detail, url)))
    return replied


def _after(alert: Alert, reply: Reply, detail: str) -> Alert:
    if reply.outcome == "ok":
        return alert.become("sent", detail, _now())
    if reply.outcome == "unknown":
        return alert.become("unknown", f"{detail}; not sent again", _now())
    if alert.attempt > len(PAUSES):
        return alert.become("gave_up", f"{detail}; attempt {alert.attempt} was the last", _now())
    minutes = PAUSES[alert.attempt - 1].seconds // 60
    return alert.become("failed", f"{detail}; the next attempt in {minutes} min", _now())


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def message(pipeline: str, alert: Alert) -> dict[str, Any]:
    """The alert as Slack takes it: `text` is what a notification shows, `blocks` what the channel does."""
    title = f"{pipeline}: {TITLES.get(alert.event, alert.event)}"
    below = f"{alert.event} of {alert.subject}, {alert.raised_at:%Y-%m-%d %H:%M:%S} UTC"
    below = slack(below) + (f"   <{slack(alert.link)}|open>" if alert.link else "")
    return {
        "text": slack(f"{title}: {alert.text}"),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": f"*{slack(title)}*\n{slack(alert.text)}"}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": below}]},
        ],
    }
