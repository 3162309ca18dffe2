"""What every command shares: the console, and how a user's mistake ends."""

from __future__ import annotations

import sys

import click
import duckdb
from rich.console import Console

from ml_assets.errors import LakeError, MLAssetsError
from ml_assets.store.causes import lake_error
from ml_assets.store.lake import Lake
from ml_assets.store.paths import Paths

console = Console(highlight=False, soft_wrap=True)


class Group(click.Group):
    """A user's mistake ends with its text and exit code 1, never with a traceback."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except (MLAssetsError, duckdb.Error) as caught:
            error = caught
            if isinstance(caught, duckdb.Error):
                error = lake_error(caught, "The lake cannot be read.", Paths.of().lake)
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)


def existing_lake(paths: Paths) -> Lake:
    """The project's lake for writing; a mistaken folder gets none.

    Raises:
        LakeError: There is no lake yet.
    """
    lake = Lake(paths.lake)
    if not lake.is_there():
        raise LakeError("There is no lake yet.", where={"folder": lake.folder})
    return lake
