"""`ml-assets alerts`: what people were told of, and what became of it; a test message."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.table import Table

from ml_assets.cli.group import console
from ml_assets.cli.listing import json_option, limit_option, print_json
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.errors import SpecError
from ml_assets.escaping import host_of, without_secrets
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.project import declared, project_at
from ml_assets.tables import alerts as store
from ml_assets.tables import versions
from ml_assets.tables.alerts import Alert


@click.command()
@pipeline_argument
@limit_option
@json_option
@click.option("--test", "is_test", is_flag=True, help="Send a test message to alerts.webhook, and record it.")
def alerts(pipeline: str, limit: int, as_json: bool, is_test: bool) -> None:
    """Alerts of PIPELINE and their current state, newest first. With --test, exits with 1 if it was not accepted."""
    if is_test:
        sys.exit(0 if send_test(Paths.of(), pipeline) else 1)
    with reading(pipeline) as lake:
        found = store.current(lake, pipeline, limit)
    if as_json:
        print_json([alert.as_row() for alert in found])
        return
    if not found:
        console.print(f"{pipeline} has no alerts.")
        return
    table = Table("raised (UTC)", "event", "state", box=None)
    for title in ("what", "detail"):
        table.add_column(title, overflow="fold")
    for alert in found:
        state = alert.state + (f" ({alert.attempt})" if alert.attempt > 1 else "")
        when = f"{alert.raised_at:%y-%m-%d %H:%M}"
        table.add_row(when, alert.event, state, alert.text.splitlines()[0], alert.detail)
    console.print(table)


def send_test(paths: Paths, pipeline: str) -> bool:
    """Send a test message and record it. Was it taken?

    Raises:
        SpecError: The project has no such pipeline, or its YAML names no webhook.
    """
    from ml_assets.graph import webhook
    from ml_assets.graph.alerting.sending import message

    url = _webhook(pipeline)
    moment = versions.now()
    alert = store.raised("test", pipeline, f"a test by {versions.user()}", [moment])
    answer = webhook.ask(url, message(pipeline, alert))
    state: store.State = {"ok": "sent", "failed": "gave_up", "unknown": "unknown"}[answer.outcome]  # type: ignore[assignment]
    alert = alert.become(state, without_secrets(answer.detail, url), versions.now(), 1)
    console.print(f"{state}: {host_of(url)} {alert.detail}")
    _record(paths, pipeline, alert)
    return answer.outcome == "ok"


def _record(paths: Paths, pipeline: str, alert: Alert) -> None:
    with Lake.of(paths) as lake:
        if lake.catalog.exists():
            store.write(lake, pipeline, [alert])
        else:
            console.print("It is not recorded: there is no lake yet.")


def _webhook(pipeline: str) -> str:
    """`alerts.webhook` as the YAML has it, with its templates filled in; loading the definitions would take seconds."""
    from dagster import ResolutionContext

    raw = (declared(project_at(Path.cwd()), pipeline).get("alerts") or {}).get("webhook")
    url = ResolutionContext.default().resolve_value(raw) if raw else None
    if not url:
        raise SpecError(
            "alerts.webhook names no address.",
            found=raw,
            where={"pipeline": pipeline},
            fix="Write it into defs.yaml, such as webhook: '{{ env.SLACK_WEBHOOK }}', and set the variable.",
        )
    return str(url)
