"""`ml-assets models list`: every version of a pipeline."""

from __future__ import annotations

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, limit_option, print_json
from ml_assets.cli.models.values import number, scored
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.version_overview import overview


@click.command("list", short_help="Every version with its scores and decision.")
@pipeline_argument
@limit_option
@json_option
def list_(pipeline: str, limit: int, as_json: bool) -> None:
    """Every version, newest first, with its scores, the decision about it, and what triggered its training."""
    with reading(pipeline) as lake:
        rows = overview(lake, pipeline)[:limit]
    if as_json:
        print_json(rows)
        return
    metrics = ", ".join(dict.fromkeys(row["metric"] for row in rows if row["metric"]))
    titles = ("version", "trained", "candidate", "validation", "test", "decision", "triggered by")
    table = grid(*titles, title=f"{pipeline}: {metrics}")
    for row in rows:
        table.add_row(
            row["version"],
            f"{row['created_at']:%y-%m-%d}",
            row["candidate"],
            number(row["validation_score"]),
            scored(row["test_score"], row["low"], row["high"]),
            ", ".join([row["decision"] or "none", *(f"now {alias}" for alias in row["aliases"])]),
            (row["triggered_by"] or "").replace(f"{pipeline}_", ""),
        )
    console.print(table)
