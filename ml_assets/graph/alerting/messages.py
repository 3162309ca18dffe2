"""How an alert reads: in Slack's format for a webhook, as title and plain text for every other channel."""

from __future__ import annotations

from typing import Any

from ml_assets.escaping import one_line, slack, visible
from ml_assets.pages import addresses
from ml_assets.tables.alerts import Alert

TITLES = {
    "run_failure": "Run failed",
    "refused_batch": "Batch refused",
    "rejected_file": "File rejected",
    "duplicate_file": "Duplicate file skipped",
    "drift": "Drift",
    "decay": "Live score decayed",
    "pending": "Version waits for approval",
    "refused": "Version refused",
    "champion": "New champion",
    "digest": "Daily digest",
    "daemon": "Daemon",
    "test": "Test",
}


def title(pipeline: str, alert: Alert) -> str:
    """What a notification shows first: `pipeline: Run failed`."""
    return one_line(f"{pipeline}: {TITLES.get(alert.event, alert.event)}")


def plain(alert: Alert) -> str:
    """The alert as text of several lines, the link last."""
    link = _link(alert)
    return "\n".join([visible(alert.text), _context(alert), *([link] if link else [])])


def for_slack(pipeline: str, alert: Alert) -> dict[str, Any]:
    """The alert as Slack takes it: `text` is what a notification shows, `blocks` what the channel does."""
    heading, link = slack(title(pipeline, alert)), _link(alert)
    below = slack(_context(alert)) + (f"   <{slack(link)}|open>" if link else "")
    return {
        "text": f"{heading}: {slack(alert.text)}",
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": f"*{heading}*\n{slack(alert.text)}"}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": below}]},
        ],
    }


def _context(alert: Alert) -> str:
    return one_line(f"{alert.severity}: {alert.event} of {alert.subject}, {alert.raised_at:%Y-%m-%d %H:%M:%S} UTC")


def _link(alert: Alert) -> str | None:
    """The link for somebody who reads this elsewhere; None where the pages have no address for people."""
    is_page = alert.link is not None and alert.link.startswith("/")
    return addresses.absolute(str(alert.link)) if is_page else alert.link
