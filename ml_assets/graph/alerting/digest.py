"""The digest: one message a day with all that needs attention, also where that is nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from ml_assets.attention import Need
from ml_assets.escaping import one_line
from ml_assets.pages import addresses
from ml_assets.spec.operation import Severity
from ml_assets.tables import alerts
from ml_assets.tables.alerts import Alert

MOST = 10  # needs in a message; the page has all
MOST_TEXT = 120  # characters of one; Slack takes 3,000 in all


def is_due(at: str | None, moment: dt.datetime, sent_on: str | None) -> bool:
    """Has the time of day come, and has none been sent that day?

    Args:
        at: `alerts.digest`, such as 08:00.
        moment: Now, UTC.
        sent_on: Date of the last one.
    """
    return at is not None and moment.strftime("%H:%M") >= at and sent_on != moment.date().isoformat()


def digest(pipeline: str, needs: Sequence[Need], day: dt.date) -> Alert:
    """The digest of a day, whose id is that day's: there is one, whoever makes it how often.

    Its severity is that of the worst need, so that a channel for warnings gets none on a quiet day.
    """
    if not needs:
        return _of(pipeline, day, "Nothing needs attention.")
    verb = "thing needs" if len(needs) == 1 else "things need"
    lines = [f"{len(needs)} {verb} attention:"]
    lines += [f"- {_cut(need.text)}\n  next: {_cut(need.todo)}" for need in needs[:MOST]]
    if len(needs) > MOST:
        lines.append(f"... and {len(needs) - MOST} more: `ml-assets summary {pipeline}`")
    is_critical = any(need.severity == "error" for need in needs)
    return _of(pipeline, day, "\n".join(lines), "critical" if is_critical else "warning")


def _of(pipeline: str, day: dt.date, text: str, severity: Severity = "info") -> Alert:
    return alerts.raised("digest", day.isoformat(), text, [], addresses.pipeline(pipeline), severity)


def _cut(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= MOST_TEXT else line[: MOST_TEXT - 1] + "…"
