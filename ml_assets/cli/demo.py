"""`ml-assets demo`: a year of real flights, from raw files to a champion and drift reports."""

from __future__ import annotations

import sys

import click
from rich.text import Text

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import reading
from ml_assets.cli.summary import print_summary
from ml_assets.home import prepare_home
from ml_assets.lake.paths import Paths
from ml_assets.pipeline_summary import summarize


@click.command()
def demo() -> None:
    """A year of real flights: ten months make a champion, two more are scored before any model has seen them."""
    from ml_assets.demo import run_demo  # all of Dagster

    paths = Paths.of()
    prepare_home(paths, console.print)
    ok = run_demo(paths, console)
    with reading() as lake:
        found = summarize(lake, "flights")
    print_summary(found)
    console.print(
        Text("\nNext", "bold"),
        " make ui   then http://127.0.0.1:3001 (what needs you) and http://127.0.0.1:3000 (the graph)",
    )
    sys.exit(0 if ok and not found.problems else 1)
