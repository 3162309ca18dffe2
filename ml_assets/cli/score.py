"""`ml-assets score`: batches scored and measured, again too, by any version."""

from __future__ import annotations

import sys

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import pipeline_argument, reading, version_option
from ml_assets.cli.results import batches_argument, can_be_continued, print_scored, say_next
from ml_assets.errors import BatchRefused
from ml_assets.lake.paths import Paths
from ml_assets.tables import versions


@click.command(short_help="Score batches; measure drift and live scores.")
@pipeline_argument
@batches_argument
@version_option("--version", "Score with this version and keep the rows of all others; default: the champion.")
def score(pipeline: str, batches: tuple[str, ...], version: str | None) -> None:
    """Score batches and measure their drift and live scores: those that wait for scores, or those that you name, singly
    or as a range A...B, which may be scored again.

    Rows of another version than the champion are kept beside its predictions, as `rescored`. Prints the Dagster
    commands that it runs.
    """
    from ml_assets.run_pipeline import PipelineRunner

    if version and not batches:
        raise BatchRefused(
            "Which batches?", fix=f"Name them: `ml-assets score {pipeline} BATCH... --version {version}`."
        )
    runner = PipelineRunner(Paths.of(), console, pipeline)
    with reading(pipeline) as lake:
        versions.check_pipeline(lake, pipeline)
        if version:
            versions.need_version(lake, pipeline, version)
    due = runner.with_features(batches) if batches else runner.to_score()
    if not due:
        console.print(f"scored nothing: no batch of {pipeline} waits for scores")
        return
    with can_be_continued():
        ok = runner.score(due, version)
    with reading() as lake:
        print_scored(lake, pipeline, due)
    say_next(f"ml-assets open {pipeline} {due[-1]}")
    sys.exit(0 if ok else 1)
