"""`ml-assets demo`: a year of real flights, from raw files to a champion and drift reports."""

from __future__ import annotations

import sys

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import reading
from ml_assets.cli.results import say_next
from ml_assets.cli.summary import print_summary
from ml_assets.home import prepare_home
from ml_assets.lake.paths import Paths
from ml_assets.pipeline_summary import summarize


@click.command(short_help="A year of real flights, up to a champion and drift reports.")
@click.option("--next", "is_next", is_flag=True, help="Let the next month arrive, made from 2013's.")
@click.option("--drifted", is_flag=True, help="The same, but that month has drifted.")
def demo(is_next: bool, drifted: bool) -> None:
    """A year of real flights: ten months make a champion, two more are scored before any model has seen them.

    With --next or --drifted, a further month arrives as a file in data/incoming/flights, and its weather beside it.
    """
    paths = Paths.of()
    if is_next or drifted:
        arrive(paths, drifted)
        return
    from ml_assets.demo import run_demo  # all of Dagster

    prepare_home(paths, console.print)
    ok = run_demo(paths, console)
    with reading() as lake:
        found = summarize(lake, "flights")
    print_summary(found)
    say_next(
        "ml-assets ui             (the home page and Dagster)", "ml-assets demo --next    (a further month arrives)"
    )
    sys.exit(0 if ok and not found.problems else 1)


def arrive(paths: Paths, drifted: bool) -> None:
    """Let a month arrive, and say what will happen and where to see it."""
    from ml_assets.demo_next import next_month

    file = next_month(paths, drifted)
    batch = file.stem.removeprefix("flights_")
    console.print(f"arrived  {file.relative_to(paths.root)}")
    console.print(
        "         While `ml-assets ui` runs, it is ingested, scored and watched within a minute"
        + (", found to have drifted, and a training follows." if drifted else ".")
    )
    say_next("ml-assets run flights             (without `ui`: the same, at once)", f"ml-assets open flights {batch}")
