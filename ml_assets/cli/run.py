"""`ml-assets run`: the whole loop of a pipeline, once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.cli.results import (
    batches_argument,
    can_be_continued,
    ingest_due,
    print_scored,
    print_trained,
    say_next,
)
from ml_assets.lake.paths import Paths

if TYPE_CHECKING:
    from ml_assets.run_pipeline import PipelineRunner


@click.command(short_help="The whole loop, once: ingest, train, score, monitor.")
@pipeline_argument
@batches_argument
@click.option("--retrain", is_flag=True, help="Train a further version in any case.")
def run(pipeline: str, batches: tuple[str, ...], retrain: bool) -> None:
    """Ingest what is new, has changed or was made by old code; score and watch what the champion has not seen; train
    where the rules under `retrain` say so, as the sensors do. Batches that you name, singly or as a range A...B, are
    ingested in any case.

    Prints the Dagster commands that it runs. Exits with 1 if one of them fails.
    """
    from ml_assets.run_pipeline import PipelineRunner

    runner = PipelineRunner(Paths.of(), console, pipeline)
    with can_be_continued():
        due, ok = ingest_due(runner, batches)
        ok &= _score(runner, runner.to_score(due))
        ok &= _train(runner, retrain) and _score(runner, runner.to_score())
    say_next(f"ml-assets open {pipeline}", f"ml-assets summary {pipeline}")
    sys.exit(0 if ok else 1)


def _score(runner: PipelineRunner, batches: list[str]) -> bool:
    ok = runner.score(batches)
    if batches:
        with reading(runner.pipeline) as lake:
            print_scored(lake, runner.pipeline, batches)
    return ok


def _train(runner: PipelineRunner, retrain: bool) -> bool:
    """Train where that is due. False where the training failed."""
    decided = None if retrain else runner.is_training_due()
    if decided is not None and decided.request is None:
        console.print(f"trained  nothing: {decided.why}")
        return True
    if not runner.train(decided.request.tags if decided and decided.request else None):
        return False
    with reading(runner.pipeline) as lake:
        print_trained(lake, runner.pipeline)
    return True
