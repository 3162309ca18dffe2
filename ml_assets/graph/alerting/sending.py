"""From events to messages: what is raised, what is sent now, and what becomes of it in each channel.

At most once for each event and channel. Before requests go out, the alerts are written as `sending`; one that is found
in that state later was being sent by a process that was killed, and nobody knows whether its request arrived: it
becomes `unknown` and is not sent again. Only what surely was not accepted is. One process at a time does all this for a
pipeline, however many daemons there are.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from ml_assets.errors import LakeError
from ml_assets.graph.alerting import channels
from ml_assets.graph.webhook import Reply
from ml_assets.lake.lake import Lake
from ml_assets.spec.operation import Alerts, Channel
from ml_assets.tables import alerts
from ml_assets.tables.alerts import ALERTS, Alert

PER_TICK = 4  # messages for a channel; each may take up to 10 s, and after 10 s in all no other one is begun
BUDGET_S = 10.0
LOCK_S = 1.0
# After the first attempt, the second, ...; then it is given up.
PAUSES = [dt.timedelta(minutes=minutes) for minutes in (1, 5, 15, 40)]
Send = Callable[[Channel, str, Alert], Reply]
Key = tuple[str, str]


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
    unwatched: Collection[str] = (),
    unwritten: Sequence[Alert] = (),
    send: Send = channels.deliver,
) -> Notified:
    """Record new events, send what is due, record the replies: at most two commits.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        configured: Who is notified of what.
        found: All events.
        moment: Now, UTC.
        unwatched: Events that nobody has watched until now: those that are found are old, and not sent.
        unwritten: What the last check could not write.
        send: Sends one message.

    Raises:
        LakeError: The lake cannot be written; nothing was sent.
        LakeBusy: Another process sends.
    """
    with lake.catalog.lock(ALERTS.of(pipeline), LOCK_S, f"sending alerts of {pipeline}"):
        lake.refresh()
        before = {alert.key: alert for alert in alerts.current(lake, pipeline)}
        states = before | {alert.key: alert for alert in unwritten}
        states = {key: _after_kill(alert, moment) for key, alert in states.items()}
        known = {alert_id for alert_id, _ in states}
        for alert in found:
            if alert.alert_id not in known:
                states |= {one.key: one for one in _first_states(alert, configured, moment, unwatched)}
        receivers = {channel.name: channel for channel in configured.receivers if channel.address}
        sending = [
            alert.become("sending", "", moment, alert.attempt + 1) for alert in _due(states.values(), receivers, moment)
        ]
        states |= {alert.key: alert for alert in sending}
        alerts.write(lake, pipeline, [alert for alert in states.values() if alert is not before.get(alert.key)])
        replied = _send(pipeline, receivers, sending, send)
        states |= {alert.key: alert for alert in replied}
        done = Notified([alert for alert in states.values() if alert is not before.get(alert.key)])
        try:
            alerts.write(lake, pipeline, replied)
        except LakeError:
            done.unwritten = replied
    done.next_at = min(map(_due_at, _waiting(states.values(), receivers)), default=None)
    return done


def _after_kill(alert: Alert, moment: dt.datetime) -> Alert:
    if alert.state != "sending":
        return alert
    return alert.become("unknown", "the process that sent it exited before the reply; not sent again", moment)


def _first_states(alert: Alert, configured: Alerts, moment: dt.datetime, unwatched: Collection[str]) -> Iterable[Alert]:
    """The alert in each channel that takes it; in none, with the reason, where no channel does."""
    alert = replace(alert, raised_at=moment, written_at=moment)
    if alert.event in unwatched:
        return [replace(alert, state="old", detail="it happened before the first check for alerts")]
    takers = [one for one in configured.receivers if configured.takes(one, alert.event, alert.severity)]
    if not takers:
        return [replace(alert, state="not_sent", detail=_why_not(alert, configured))]
    return [
        replace(alert, channel=one.name)
        if one.address
        else replace(
            alert, channel=one.name, state="not_sent", detail="the channel's address is empty: set its variable"
        )
        for one in takers
    ]


def _why_not(alert: Alert, configured: Alerts) -> str:
    if not configured.receivers:
        return "no channel is configured (alerts.webhook, alerts.channels)"
    if not any(alert.event in (configured.on if one.on is None else one.on) for one in configured.receivers):
        return f"alerts.on does not name {alert.event}"
    return f"no channel takes {alert.event} of severity {alert.severity}"


def _due(states: Iterable[Alert], receivers: Mapping[str, Channel], moment: dt.datetime) -> list[Alert]:
    """What may be sent now: the oldest of each channel first."""
    due = [alert for alert in _waiting(states, receivers) if _due_at(alert) <= moment]
    due.sort(key=lambda alert: (alert.raised_at, alert.alert_id))
    return [alert for name in receivers for alert in [one for one in due if one.channel == name][:PER_TICK]]


def _waiting(states: Iterable[Alert], receivers: Mapping[str, Channel]) -> list[Alert]:
    return [alert for alert in states if alert.state in ("raised", "failed") and alert.channel in receivers]


def _due_at(alert: Alert) -> dt.datetime:
    return alert.written_at if alert.state == "raised" else alert.written_at + PAUSES[alert.attempt - 1]


def _send(pipeline: str, receivers: Mapping[str, Channel], sending: Sequence[Alert], send: Send) -> list[Alert]:
    """Send to all channels side by side: one that is slow or down delays no other."""
    queues = {name: [alert for alert in sending if alert.channel == name] for name in receivers}
    queues = {name: queue for name, queue in queues.items() if queue}
    if not queues:
        return []
    with ThreadPoolExecutor(len(queues)) as pool:
        replied = [pool.submit(_send_to, receivers[name], pipeline, queue, send) for name, queue in queues.items()]
    return [alert for one in replied for alert in one.result()]


def _send_to(channel: Channel, pipeline: str, sending: Sequence[Alert], send: Send) -> list[Alert]:
    """Send one after the other. Where one is not accepted, the others wait for the next check."""
    deadline, replied, is_up = time.monotonic() + BUDGET_S, [], True
    for alert in sending:
        if not is_up or time.monotonic() > deadline:
            replied.append(alert.become("raised", "not tried: the channel is slow or down", _now(), alert.attempt - 1))
            continue
        reply = send(channel, pipeline, alert)
        is_up = reply.outcome == "ok"
        replied.append(_after(alert, reply))
    return replied


def _after(alert: Alert, reply: Reply) -> Alert:
    if reply.outcome == "ok":
        return alert.become("sent", reply.detail, _now())
    if reply.outcome == "unknown":
        return alert.become("unknown", f"{reply.detail}; not sent again", _now())
    if alert.attempt > len(PAUSES):
        return alert.become("gave_up", f"{reply.detail}; attempt {alert.attempt} was the last", _now())
    minutes = PAUSES[alert.attempt - 1].seconds // 60
    return alert.become("failed", f"{reply.detail}; the next attempt in {minutes} min", _now())


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)
