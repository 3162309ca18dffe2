"""What every command shares: the console, and how a user's mistake ends."""

from __future__ import annotations

import sys
from typing import Any

import click
import duckdb
from rich.console import Console
from rich.text import Text

from ml_assets.errors import LakeError, MLAssetsError
from ml_assets.escaping import visible
from ml_assets.lake.faults import lake_error
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths


class SafeConsole(Console):
    """A terminal that shows text as it is: data cannot style it, and its control characters are written out.

    What is styled on purpose is a rich `Text`, which data never is.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, soft_wrap=True, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Every string that is printed passes here, cells of tables too."""
        return super().render_str(visible(text), **options)


console = SafeConsole()


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
    if not lake.catalog.exists():
        raise LakeError("There is no lake yet.", where={"folder": lake.folder})
    return lake
