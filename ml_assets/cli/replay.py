"""`ml-assets replay`: let past batches arrive again, and see what the loop would have been worth."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid
from ml_assets.cli.pipelines import pipeline_argument
from ml_assets.lake.paths import Paths

if TYPE_CHECKING:
    from ml_assets.replay.result import Replay


@click.command(short_help="Backtest the loop on past batches.")
@pipeline_argument
@click.option("--from", "start", metavar="BATCH", help="First batch that is scored; those before it train the start.")
def replay(pipeline: str, start: str | None) -> None:
    """Past batches arrive again through the real sensors and jobs: the loop against a frozen model and against
    training after every batch. It works in data/replay, never in your lake, and starts from scratch each time."""
    from ml_assets import replay as package
    from ml_assets.component import MLPipeline
    from ml_assets.demo import DEMO, prepared, write_reference
    from ml_assets.loading import load_pipeline
    from ml_assets.replay.report import conclusions, write_report

    logging.disable(logging.ERROR)  # what sensors say would tear the progress bar
    paths = Paths.of()
    found = load_pipeline(paths.root, pipeline)
    if found.folder == DEMO:  # its files need not have arrived
        write_reference(paths)
        source = found.spec.source.model_copy(update={"path": str(prepared(paths))})
        found = MLPipeline(found.spec.model_copy(update={"source": source}), found.folder)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("the first batches", total=None)
        made = package.replay(
            found,
            paths,
            start,
            lambda done, of, text: progress.update(task, completed=done, total=of, description=text),
        )
    page, table = write_report(made, paths.artifacts.reports)
    _print(made)
    for sentence in conclusions(made):
        console.print(sentence)
    console.print(f"\nReport: {page}\nTable: {table}")


def _print(made: Replay) -> None:
    metric = made.spec.performance_metric
    titles = ("batch", "frozen", "loop", "every batch", "then the loop trained")
    table = grid(*titles, title=f"{made.spec.name}: {metric} by batch (version)")
    for row in made.rows():
        scores = [_score(row[arm], row.get(f"{arm}_version")) for arm in ("frozen", "loop", "always")]
        table.add_row(row["batch"], *scores, row["trained_after"])
    table.add_row("mean", *(f"{made.mean(arm):.4f}" for arm in ("frozen", "loop", "always")), "")
    table.add_row("trainings", *(_cost(made, arm) for arm in ("frozen", "loop", "always")), "")
    console.print(table)


def _score(value: float | None, version: str | None) -> str:
    return "" if value is None else f"{value:.4f}{f' ({version})' if version else ''}"


def _cost(made: Replay, arm: str) -> str:
    trainings = made.trainings(arm)
    return f"{len(trainings)}, {sum(one.seconds for one in trainings):.0f} s" if trainings else "0"
