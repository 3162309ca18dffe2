"""What every command shares: the console, how commands are found by their names, and how a user's mistake ends."""

from __future__ import annotations

import errno
import io
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from ml_assets.errors import MLAssetsError
from ml_assets.escaping import visible

HELP = {"help_option_names": ["-h", "--help"]}


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
    """Commands of a package, each in the module that has its name; a module is imported when its command is used.

    A user's mistake ends with its text and exit code 1, never with a traceback.

    Args:
        package: Where the modules are.
        sections: Title in the help -> names of commands.
    """

    def __init__(self, *, package: str, sections: Mapping[str, Sequence[str]], **options: Any) -> None:
        super().__init__(**options, context_settings=HELP)
        self.package, self.sections = package, sections

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for names in self.sections.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found = vars(import_module(f"{self.package}.{cmd_name}")).values()
        return next(one for one in found if isinstance(one, click.Command) and one.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, self.list_commands(ctx)))
        for title, names in self.sections.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            room = formatter.width - 6 - widest
            rows = [(name.ljust(widest), one.get_short_help_str(room)) for name, one in commands.items() if one]
            with formatter.section(title):
                formatter.write_dl(rows)

    def main(self, *args: Any, **options: Any) -> Any:
        """Where a terminal or pipe cannot show a character, its number is shown."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except MLAssetsError as error:
            click.echo(f"Error: {error}", err=True)
        except Exception as error:
            click.echo(f"Error: {_ours(error)}", err=True)
        sys.exit(1)


def _ours(error: Exception) -> MLAssetsError:
    """What the lake, Dagster's records or the machine refuses, as our own error; any other is a bug, raised again."""
    import duckdb

    from ml_assets.home import home_of
    from ml_assets.lake.faults import FULL_NUMBERS, cause, lake_error
    from ml_assets.lake.paths import Paths

    if isinstance(error, duckdb.Error):
        return lake_error(error, "The lake cannot be read.", Paths.of().lake)
    chain: BaseException | None = error
    while chain is not None and not isinstance(chain, sqlite3.OperationalError):
        chain = chain.__cause__
    if chain is not None:
        home = home_of(Paths.of())
        known = cause(chain, home)
        return MLAssetsError(
            "Dagster's records cannot be used.", found=known.text, where={"folder": home}, fix=known.fix
        )
    if isinstance(error, OSError) and error.errno in (*FULL_NUMBERS, errno.EACCES, errno.EPERM):
        fix = "Free disk space." if error.errno in FULL_NUMBERS else "Give this user access to it."
        return MLAssetsError("A file cannot be used.", found=error.strerror, where={"file": error.filename}, fix=fix)
    raise error
