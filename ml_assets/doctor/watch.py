"""Is the daemon up? Notifies when that changes: it runs beside the daemon, which cannot tell of its own end."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from ml_assets import attention
from ml_assets.dagster_records import heartbeat
from ml_assets.declared_alerts import all_alerts
from ml_assets.errors import MLAssetsError
from ml_assets.graph.alerting.channels import deliver
from ml_assets.pages import addresses
from ml_assets.project import Project
from ml_assets.spec.operation import Channel
from ml_assets.tables import alerts
from ml_assets.tables.alerts import Alert
from ml_assets.tables.versions import now

EVERY_S = 60.0
DOWN, UP = "is down: no file is ingested, no model retrained, no alert sent", "is up again"


def watch(project: Project, home: Path, say: Callable[[str], object], stopping: threading.Event) -> None:
    """Check each minute until the event is set.

    What a channel has not accepted is sent to it again at the next check, as long as it is true.

    Args:
        project: Whose channels are notified.
        home: Dagster's home.
        say: Takes a line for people.
        stopping: Ends it.
    """
    was_up, has_notified, undelivered = True, False, set[str]()
    beat: dt.datetime | None = None
    say(f"watching the daemon of {project.root}; end with Ctrl-C")
    while True:
        beat, moment = _last_beat(home, beat), now()
        is_up = beat is not None and not attention.of_installation(home, moment)
        if is_up != was_up:
            alert = _alert(is_up, beat, moment)
            say(f"{moment:%Y-%m-%d %H:%M:%S} UTC: {alert.text}")
            undelivered, has_notified = set(takers(project, alert)), True
        was_up = is_up
        if has_notified and undelivered:
            undelivered = notify(project, _alert(is_up, beat, moment), undelivered, say)
        if stopping.wait(EVERY_S):
            return


def _last_beat(home: Path, before: dt.datetime | None) -> dt.datetime | None:
    """The newest heartbeat that is known: while Dagster's database cannot be reached, the one before."""
    with contextlib.suppress(MLAssetsError):
        return heartbeat(home)
    return before


def takers(project: Project, alert: Alert) -> dict[str, Channel]:
    """Address -> the channel, of all that the project's pipelines have for such an alert."""
    return {
        str(channel.address): channel
        for configured in all_alerts(project).values()
        for channel in configured.receivers
        if channel.address and configured.takes(channel, alert.event, alert.severity)
    }


def notify(project: Project, alert: Alert, to: Collection[str], say: Callable[[str], object]) -> set[str]:
    """Send an alert to these addresses; returns those that have not accepted it."""
    left = set()
    for address, channel in takers(project, alert).items():
        if address in to:
            reply = deliver(channel, project.root.name, replace(alert, channel=channel.name))
            say(f"  {channel.name}: {'sent' if reply.outcome == 'ok' else reply.detail}")
            if reply.outcome == "failed":
                left.add(address)
    return left


def _alert(is_up: bool, beat: dt.datetime | None, moment: dt.datetime) -> Alert:
    if is_up:
        return alerts.raised("daemon", "daemon", f"Dagster's daemon {UP}", [moment], addresses.HOME, "info")
    since = f"; its last heartbeat was at {beat:%Y-%m-%d %H:%M:%S} UTC" if beat else "; it has never run"
    return alerts.raised("daemon", "daemon", f"Dagster's daemon {DOWN}{since}", [moment], addresses.HOME)
