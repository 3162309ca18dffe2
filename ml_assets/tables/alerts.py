"""Alerts: what people are notified of, and what became of it in each channel.

Nothing is ever changed: each row is a state that an alert came into in a channel, the newest row of the two is the
state now, and all of them are its history.

    raised    to be sent                          sent      the channel has accepted it
    sending   written before the request goes out failed    surely not accepted; tried again later
    not_sent  the YAML does not ask for it        gave_up   not accepted in five attempts
    old       happened before anybody watched     unknown   sent, but nobody knows whether it was accepted; not repeated
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ml_assets.atomic import short_hash
from ml_assets.lake.lake import Commit, Lake
from ml_assets.spec.operation import WEBHOOK, Severity
from ml_assets.tables.table import Column, Table
from ml_assets.tables.versions import now

# How urgent an event is where nothing else says so.
SEVERITIES: dict[str, Severity] = {
    "run_failure": "critical",
    "decay": "critical",
    "daemon": "critical",
    "refused_batch": "warning",
    "rejected_file": "warning",
    "drift": "warning",
    "pending": "warning",
}
ALERTS = Table(
    "alerts",
    "A state that an alert came into in a channel; its newest row there is its state now.",
    (
        Column("alert_id", "VARCHAR", "Names the event: the same event has the same id whenever it is found."),
        Column("event", "VARCHAR", "Word of alerts.on, or test."),
        Column("subject", "VARCHAR", "What it is about: a version, batch, file or run."),
        Column("text", "VARCHAR", "What people read."),
        Column("link", "VARCHAR", "Address of a page (pages/addresses.py), or of a run."),
        Column("raised_at", "TIMESTAMP", "When it was found, UTC."),
        Column("state", "VARCHAR", "raised, sending, sent, failed, gave_up, unknown, not_sent or old."),
        Column("attempt", "INTEGER", "How often it was sent."),
        Column("detail", "VARCHAR", "Why it is in this state."),
        Column("written_at", "TIMESTAMP", "When it came into this state, UTC."),
        Column("channel", "VARCHAR", "Name of the channel, webhook for alerts.webhook; empty where none takes it."),
        Column("severity", "VARCHAR", "info, warning or critical."),
    ),
    written_by="sensor PIPELINE_alerts",
    format=2,
)
State = Literal["raised", "sending", "sent", "failed", "gave_up", "unknown", "not_sent", "old"]


@dataclass(frozen=True)
class Alert:
    """One alert in one state in one channel.

    Args:
        alert_id: Names the event: the same event has the same id whenever it is found.
        event: Word of `alerts.on`, or test.
        subject: What it is about: a version, batch, file or run.
        text: What people read.
        link: Address of a page (pages/addresses.py), or of a run; None where none is known.
        raised_at: When it was found, UTC.
        state: See above.
        attempt: How often it was sent.
        detail: Why it is in this state.
        written_at: When it came into this state, UTC.
        channel: Name of the channel; empty before it has one, and where none takes it.
        severity: How urgent it is.
    """

    alert_id: str
    event: str
    subject: str
    text: str
    link: str | None
    raised_at: dt.datetime
    state: State
    attempt: int
    detail: str
    written_at: dt.datetime
    channel: str = ""
    severity: Severity = "info"

    @property
    def key(self) -> tuple[str, str]:
        """What its states have in common."""
        return self.alert_id, self.channel

    def become(self, state: State, detail: str, moment: dt.datetime, attempt: int | None = None) -> Alert:
        """The same alert in another state, written after this one whatever the clock says."""
        later = max(moment, self.written_at + dt.timedelta(microseconds=1))
        attempt = self.attempt if attempt is None else attempt
        return replace(self, state=state, detail=detail, written_at=later, attempt=attempt)

    def as_row(self) -> dict[str, Any]:
        """A row of the table."""
        return asdict(self)


def identity(event: str, subject: str, own: Sequence[object]) -> str:
    """The id of an event: a hash of its kind, its subject, and what tells it from others about the same subject."""
    return short_hash(json.dumps([event, subject, *own], default=str), 20)


def raised(
    event: str,
    subject: str,
    text: str,
    own: Sequence[object],
    link: str | None = None,
    severity: Severity | None = None,
) -> Alert:
    """A new alert, of no channel yet."""
    moment, severity = now(), severity or SEVERITIES.get(event, "info")
    name = identity(event, subject, own)
    return Alert(name, event, subject, text, link, moment, "raised", 0, "", moment, severity=severity)


def current(lake: Lake, pipeline: str, limit: int | None = None) -> list[Alert]:
    """Every alert in its state now in each of its channels, those that were raised last first."""
    rows = ALERTS.query(
        lake,
        pipeline,
        """SELECT * REPLACE (coalesce(channel, $webhook) AS channel) FROM {t}
        QUALIFY row_number() OVER (PARTITION BY alert_id, coalesce(channel, $webhook) ORDER BY written_at DESC) = 1
        ORDER BY raised_at DESC, written_at DESC, alert_id, channel LIMIT $limit""",
        {"limit": 2**62 if limit is None else limit, "webhook": WEBHOOK},
    )
    return [_alert(row) for row in rows]


def _alert(row: dict[str, Any]) -> Alert:
    known = {name: row[name] for name in ALERTS.types}
    return Alert(**known | {"severity": row["severity"] or SEVERITIES.get(row["event"], "info")})


def is_of_first_format(lake: Lake, pipeline: str) -> bool:
    """Was the table written before there were channels, and events about files?"""
    return lake.exists(ALERTS.of(pipeline)) and "channel" not in lake.columns(ALERTS.sql(pipeline))


def since(lake: Lake, pipeline: str, moment: dt.datetime, event: str | None = None) -> list[Alert]:
    """Alerts that were raised at a moment or later, of one event or of all; each once, in the newest of its states."""
    rows = ALERTS.query(
        lake,
        pipeline,
        """SELECT * REPLACE (coalesce(channel, $webhook) AS channel) FROM {t}
        WHERE raised_at >= $moment AND ($event IS NULL OR event = $event)
        QUALIFY row_number() OVER (PARTITION BY alert_id ORDER BY written_at DESC) = 1 ORDER BY raised_at, alert_id""",
        {"moment": moment, "event": event, "webhook": WEBHOOK},
    )
    return [_alert(row) for row in rows]


def write(lake: Lake, pipeline: str, alerts: Sequence[Alert]) -> None:
    """Append states, all in one snapshot."""
    if alerts:
        lake.append([ALERTS.rows(pipeline, [alert.as_row() for alert in alerts])], Commit(ALERTS.asset(pipeline)))
