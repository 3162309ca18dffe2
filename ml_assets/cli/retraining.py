"""`ml-assets retraining`: why trainings were started, held back or not started."""

from __future__ import annotations

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, limit_option, print_json
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.tables import retrain_events


@click.command(short_help="Every decision about a retraining, and why.")
@pipeline_argument
@limit_option
@json_option
def retraining(pipeline: str, limit: int, as_json: bool) -> None:
    """History of retraining decisions of PIPELINE, newest first: train, wait or skip, and why."""
    with reading(pipeline) as lake:
        events = retrain_events.read(lake, pipeline, limit)[::-1]
    if as_json:
        print_json(events)
        return
    if not events:
        console.print(f"Nothing has been decided about trainings of {pipeline} yet.")
        return
    shown = grid("decided (UTC)", "decision", "trigger", "batches", "champion", "run", "why")
    for event in events:
        shown.add_row(
            f"{event.decided_at:%y-%m-%d %H:%M}",
            event.decision,
            event.trigger,
            ", ".join(event.batches),
            event.champion or "",
            (event.run_id or "")[:8],
            event.why,
        )
    console.print(shown)
