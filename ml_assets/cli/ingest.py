"""`ml-assets ingest`: from files to features."""

from __future__ import annotations

import sys

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.cli.results import batches_argument, can_be_continued, ingest_due, say_next
from ml_assets.lake.paths import Paths
from ml_assets.tables import versions


@click.command(short_help="Read new files: rows, rules, features.")
@pipeline_argument
@batches_argument
def ingest(pipeline: str, batches: tuple[str, ...]) -> None:
    """Read the source folder and ingest batches up to their features: those that are new, have changed or were made by
    old code. Batches that you name, singly or as a range A...B, are ingested in any case.

    Prints the Dagster commands that it runs. Exits with 1 if a batch fails.
    """
    from ml_assets.run_pipeline import PipelineRunner

    runner = PipelineRunner(Paths.of(), console, pipeline)
    with can_be_continued():
        due, ok = ingest_due(runner, batches)
    with reading(pipeline) as lake:
        step = "score" if versions.alias(lake, pipeline, "champion") else "train"
    say_next(f"ml-assets {step} {pipeline}" if due else f"ml-assets summary {pipeline}   (what needs attention)")
    sys.exit(0 if ok else 1)
