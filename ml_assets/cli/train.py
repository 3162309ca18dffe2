"""`ml-assets train`: a training, from the training set to the decision."""

from __future__ import annotations

import sys

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.cli.results import can_be_continued, print_trained, say_next
from ml_assets.lake.paths import Paths


@click.command(short_help="Train a version, prove it, decide about it.")
@pipeline_argument
def train(pipeline: str) -> None:
    """Train a version on all batches with features, evaluate and package it, and decide whether it becomes champion.

    Prints the Dagster command that it runs. Exits with 1 if the training fails; a refused version is no failure.
    """
    from ml_assets.run_pipeline import PipelineRunner

    runner = PipelineRunner(Paths.of(), console, pipeline)
    with can_be_continued():
        if not runner.train():
            sys.exit(1)
    with reading(pipeline) as lake:
        print_trained(lake, pipeline)
    if waiting := runner.to_score():
        say_next(f"ml-assets score {pipeline}   ({len(waiting)} batches wait for scores)")
