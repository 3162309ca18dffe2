"""`ml-assets retrains`: why trainings were started, held back or not started."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.table import Table

from ml_assets.cli.group import console
from ml_assets.errors import LakeError, did_you_mean
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.tables import retrain_events


@click.command()
@click.argument("pipeline")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="For machines, with the evidence.")
def retrains(pipeline: str, limit: int, as_json: bool) -> None:
    """Each decision about a training of PIPELINE, newest first: train, wait or skip, and why."""
    with Lake(Paths.of().lake, read_only=True) as lake:
        known = sorted({name.partition(".")[0] for name in lake.tables()})
        if pipeline not in known:
            raise LakeError(f"The lake has no pipeline {pipeline!r}.", fix=did_you_mean(pipeline, known))
        events = retrain_events.read(lake, pipeline, limit)[::-1]
    if as_json:
        click.echo(json.dumps([asdict(event) for event in events], default=str, indent=2))
        return
    if not events:
        console.print(f"Nothing has been decided about trainings of {pipeline} yet.")
        return
    shown = Table("decided at", "decision", "trigger", "batches", "champion", "run")
    shown.add_column("why", overflow="fold")
    for event in events:
        shown.add_row(
            f"{event.decided_at:%Y-%m-%d %H:%M:%S}",
            event.decision,
            event.trigger,
            ", ".join(event.batches),
            event.champion or "",
            (event.run_id or "")[:8],
            event.why,
        )
    console.print(shown)
