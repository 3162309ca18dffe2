"""`ml-assets doctor`: what is wrong with the installation, and how to correct it; with --watch, whether it runs."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from ml_assets.cli.group import console
from ml_assets.cli.listing import Grid, grid, json_option, print_json
from ml_assets.cli.ui import UI_PORT
from ml_assets.home import home_of
from ml_assets.lake.paths import Paths
from ml_assets.project import project_at

if TYPE_CHECKING:
    from ml_assets.doctor.finding import Finding

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@json_option
@click.option("--watch", "is_watching", is_flag=True, help="Check the daemon each minute, and notify when it is down.")
def doctor(as_json: bool, is_watching: bool) -> None:
    """Check the installation; say what is wrong and the fix.

    Looks at environment, project, lake, daemon, sensors, runs and alerts. Exits with 1 if there is a problem; a
    warning is none. With --watch, runs beside the daemon until Ctrl-C, and
    notifies the channels of `alerts` when the daemon goes down and when it is back.
    """
    paths = Paths.of()
    if is_watching:
        _watch(paths)
        return
    from ml_assets.doctor.diagnose import diagnose

    found = []
    for one in diagnose(paths, UI_PORT):
        found.append(one)
        if not as_json:
            console.print(shown_finding(one))
    if as_json:
        print_json(found)
    sys.exit(1 if any(one.level == "problem" for one in found) else 0)


def shown_finding(found: Finding) -> Grid:
    """A line, and one for the fix; what is longer goes on below itself."""
    shown = grid("level", "area", "text", header=False)
    shown.add_row(Text(f"{found.level:<7}", COLOURS[found.level]), f"{found.area:<10}", found.text)
    if found.fix:
        shown.add_row("", "", f"-> {found.fix}")
    return shown


def _watch(paths: Paths) -> None:
    from ml_assets.doctor.watch import watch

    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    watch(project_at(Path.cwd()), home_of(paths), console.print, stopping)
