"""`ml-assets alerts`: what people were notified of in each channel, and what became of it; a test message."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, limit_option, print_json
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.declared_alerts import alerts_of, missing_variables
from ml_assets.errors import SpecError
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.project import project_at
from ml_assets.spec.operation import Channel
from ml_assets.tables import alerts as store
from ml_assets.tables import versions
from ml_assets.tables.alerts import Alert

STATES: dict[str, store.State] = {"ok": "sent", "failed": "gave_up", "unknown": "unknown"}


@click.command(short_help="Alerts and whether they were delivered.")
@pipeline_argument
@limit_option
@json_option
@click.option("--test", "is_test", is_flag=True, help="Send a test message to every channel, and record it.")
def alerts(pipeline: str, limit: int, as_json: bool, is_test: bool) -> None:
    """Alerts of PIPELINE, with their state in each channel.

    The newest come first. With --test, exits with 1 if a channel did not accept the message.
    """
    if is_test:
        sent = send_test(Paths.of(), pipeline)
        show(pipeline, sent, as_json)
        sys.exit(0 if all(alert.state == "sent" for alert in sent) else 1)
    with reading(pipeline) as lake:
        show(pipeline, store.current(lake, pipeline, limit), as_json)


def show(pipeline: str, found: list[Alert], as_json: bool) -> None:
    """A row for each alert and channel."""
    if as_json:
        print_json([alert.as_row() for alert in found])
        return
    if not found:
        console.print(f"{pipeline} has no alerts.")
        return
    table = grid("raised (UTC)", "event", "channel", "state", "what", "detail")
    for alert in found:
        state = alert.state + (f" ({alert.attempt})" if alert.attempt > 1 else "")
        when = f"{alert.raised_at:%y-%m-%d %H:%M}"
        table.add_row(when, alert.event, alert.channel, state, alert.text.splitlines()[0], alert.detail)
    console.print(table)


def send_test(paths: Paths, pipeline: str) -> list[Alert]:
    """Send a test message to every channel, whatever its filters, and record what became of it.

    Raises:
        UnknownPipeline: The project has no such pipeline.
        SpecError: Its YAML names no channel.
    """
    project = project_at(Path.cwd())
    channels = alerts_of(project, pipeline).receivers
    if not any(channel.address for channel in channels):
        missing = missing_variables(project, pipeline, "alerts")
        raise SpecError(
            "Neither alerts.webhook nor alerts.channels names an address.",
            found=f"not set in the environment: {', '.join(missing)}" if missing else None,
            where={"pipeline": pipeline},
            fix="Write one into defs.yaml, such as webhook: '{{ env.SLACK_WEBHOOK }}', and set the variable.",
        )
    moment = versions.now()
    test = store.raised("test", pipeline, f"a test by {versions.user()}", [moment])
    with ThreadPoolExecutor(len(channels)) as pool:
        sent = list(pool.map(lambda channel: _sent(channel, pipeline, test), channels))
    _record(paths, pipeline, sent)
    return sent


def _sent(channel: Channel, pipeline: str, test: Alert) -> Alert:
    from ml_assets.graph.alerting.channels import deliver

    test = replace(test, channel=channel.name)
    if not channel.address:
        return test.become("not_sent", "the channel's address is empty: set its variable", versions.now())
    reply = deliver(channel, pipeline, test)
    return test.become(STATES[reply.outcome], reply.detail, versions.now(), 1)


def _record(paths: Paths, pipeline: str, sent: list[Alert]) -> None:
    with Lake.of(paths) as lake:
        if lake.catalog.exists():
            store.write(lake, pipeline, sent)
        else:
            click.echo("It is not recorded: there is no lake yet.", err=True)
