"""Alerts: what people are told, and what became of telling them.

Nothing is ever changed: each row is a state that an alert came into, the newest row of an
alert is its state now, and all of them are its history.

    raised    to be sent                          sent      the receiver has answered with 2xx
    sending   written before the request goes out failed    surely not taken; tried again later
    not_sent  the YAML does not ask for it        gave_up   not taken in five attempts
    old       happened before anybody watched     unknown   sent, but whether it was taken cannot be known; not repeated
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ml_assets.atomic import short_hash
from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables.table import Column, Table
from ml_assets.tables.versions import now

ALERTS = Table(
    "alerts",
    "A state that an alert came into; its newest row is its state now.",
    (
        Column("alert_id", "VARCHAR", "Names the event: the same event has the same id whenever it is found."),
        Column("event", "VARCHAR", "Word of alerts.on, or test."),
        Column("subject", "VARCHAR", "What it is about: a version, batch, file or run."),
        Column("text", "VARCHAR", "What people read."),
        Column("link", "VARCHAR", "Address of a report or run."),
        Column("raised_at", "TIMESTAMP", "When it was found, UTC."),
        Column("state", "VARCHAR", "raised, sending, sent, failed, gave_up, unknown, not_sent or old."),
        Column("attempt", "INTEGER", "How often it was sent."),
        Column("detail", "VARCHAR", "Why it is in this state."),
        Column("written_at", "TIMESTAMP", "When it came into this state, UTC."),
    ),
    written_by="sensor PIPELINE_alerts",
)
State = Literal["raised", "sending", "sent", "failed", "gave_up", "unknown", "not_sent", "old"]


@dataclass(frozen=True)
class Alert:
    """One alert in one state.

    Args:
        alert_id: Names the event: the same event has the same id whenever it is found.
        event: Word of `alerts.on`, or test.
        subject: What it is about: a version, batch, file or run.
        text: What people read.
        link: Address of a page or run; None where none is known.
        raised_at: When it was found, UTC.
        state: See above.
        attempt: How often it was sent.
        detail: Why it is in this state.
        written_at: When it came into this state, UTC.
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


def raised(event: str, subject: str, text: str, own: Sequence[object], link: str | None = None) -> Alert:
    """A new alert."""
    moment = now()
    return Alert(identity(event, subject, own), event, subject, text, link, moment, "raised", 0, "", moment)


def current(lake: Lake, pipeline: str, limit: int | None = None) -> list[Alert]:
    """Every alert in its state now, those that were raised last first."""
    rows = ALERTS.query(
        lake,
        pipeline,
        """SELECT * FROM {t} QUALIFY row_number() OVER (PARTITION BY alert_id ORDER BY written_at DESC) = 1
        ORDER BY raised_at DESC, written_at DESC, alert_id LIMIT $limit""",
        {"limit": 2**62 if limit is None else limit},
    )
    return [Alert(**{name: row[name] for name in ALERTS.types}) for row in rows]


def since(lake: Lake, pipeline: str, moment: dt.datetime, event: str | None = None) -> list[Alert]:
    """Alerts in their state now, of those that were raised at a moment or later; of one event, or of all."""
    rows = ALERTS.query(
        lake,
        pipeline,
        """SELECT * FROM {t} WHERE raised_at >= $moment AND ($event IS NULL OR event = $event)
        QUALIFY row_number() OVER (PARTITION BY alert_id ORDER BY written_at DESC) = 1 ORDER BY raised_at, alert_id""",
        {"moment": moment, "event": event},
    )
    return [Alert(**{name: row[name] for name in ALERTS.types}) for row in rows]


def write(lake: Lake, pipeline: str, alerts: Sequence[Alert]) -> None:
    """Append states, all in one snapshot."""
    if alerts:
        lake.append([ALERTS.rows(pipeline, [alert.as_row() for alert in alerts])], Commit(ALERTS.asset(pipeline)))
