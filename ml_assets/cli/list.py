"""`ml-assets list`: the pipelines; of one of them its batches or versions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, limit_option, print_json
from ml_assets.cli.pipelines import optional_pipeline, reading
from ml_assets.lake.paths import Paths
from ml_assets.project import project_at

NUMBERS = ("test", "live", "batches", "rows", "quarantined")
WHAT = ("batches", "versions")


@click.command("list", short_help="Pipelines, or the batches or versions of one.")
@optional_pipeline
@click.argument("what", required=False, type=click.Choice(WHAT))
@limit_option
@json_option
def list_(pipeline: str | None, what: str | None, limit: int, as_json: bool) -> None:
    """Every pipeline with its champion, scores, newest batch and state; or the newest batches of PIPELINE, or its
    versions."""
    if what == "versions":
        from ml_assets.cli.models.list import list_ as versions

        click.get_current_context().invoke(versions, pipeline=pipeline, limit=limit, as_json=as_json)
        return
    from ml_assets import pipeline_lists

    if pipeline is None:
        rows = pipeline_lists.pipelines(Paths.of())[:limit]
    else:
        with reading(pipeline) as lake:
            rows = pipeline_lists.batches(lake, pipeline, limit)
    if not rows and pipeline is None:
        project_at(Path.cwd())  # there may be none
    if as_json:
        print_json(rows)
    elif not rows:
        console.print("The project has no pipelines." if pipeline is None else f"{pipeline} has no batches.")
    else:
        console.print(_table(_pipeline_cells(rows) if pipeline is None else _batch_cells(rows)))


def _pipeline_cells(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "pipeline": row["pipeline"],
            "champion": row["champion"] or "none",
            "test": _score(row["test_score"]),
            "live": _score(row["live_score"]),
            "batches": f"{row['batches']:,}",
            "newest": row["newest_batch"] or "",
            "state": row["state"],
        }
        for row in rows
    ]


def _batch_cells(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "batch": row["batch"],
            "rows": f"{row['rows']:,}",
            "quarantined": f"{row['quarantined']:,}",
            "scored by": row["model_version"] or "",
            "drift": {True: "yes", False: "no", None: ""}[row["drifted"]],
            "live": _score(row["live_score"]),
            "state": row["state"],
        }
        for row in rows
    ]


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(rows: Sequence[dict[str, str]]) -> Table:
    table = grid(*rows[0], numbers=NUMBERS)
    for row in rows:
        table.add_row(*row.values())
    return table
