"""`ml-assets`: what Dagster's own commands do not do. A module here is a few related commands."""

from __future__ import annotations

import click

from ml_assets.cli import (
    alerts,
    begin,
    lake,
    models,
    monitor,
    quarantine,
    replay,
    retrains,
    run,
    score,
    serve,
    show,
    status,
    trials,
    validate,
)
from ml_assets.cli.group import Group


@click.group(cls=Group)
@click.version_option(package_name="ml-assets")
def main() -> None:
    """Machine-learning pipelines as Dagster assets on a DuckDB lake."""


for command in (
    begin.init,
    begin.suggest,
    run.home,
    run.demo,
    run.ui,
    score.score,
    monitor.monitor,
    replay.replay,
    serve.serve,
    show.summary,
    status.status,
    validate.validate,
    show.approve,
    show.reject,
    models.models,
    quarantine.quarantine,
    trials.trials,
    retrains.retrains,
    alerts.alerts,
    lake.lake,
):
    main.add_command(command)
