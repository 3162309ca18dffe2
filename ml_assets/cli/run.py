"""`ml-assets home | demo | ui`: prepare a project, and run it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.text import Text

from ml_assets.cli.group import console
from ml_assets.cli.show import print_summary
from ml_assets.errors import ServingError
from ml_assets.home import prepare_home
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.summary import summarize
from ml_assets.ui.reports import ENV_REPORTS_URL, served
from ml_assets.ui.services import services
from ml_assets.ui.supervise import run
from ml_assets.ui.web import ENV_UI_URL

UI_PORT = 3000


def say(line: str) -> None:
    """A line for people."""
    console.print(line, markup=False)


@click.command()
def home() -> None:
    """Prepare Dagster's home: the folder, its dagster.yaml, and .env so that every command finds it."""
    click.echo(prepare_home(Paths.of(), lambda line: click.echo(line, err=True)))


@click.command()
def demo() -> None:
    """A year of real flights: ten months make a champion, two more are scored before any model has seen them."""
    from ml_assets.demo import run_demo

    paths = Paths.of()
    prepare_home(paths, say)
    ok = run_demo(paths, console)
    with Lake(paths.lake, read_only=True) as lake:
        found = summarize(lake, "flights")
    print_summary(found)
    console.print(
        Text("\nNext", "bold"), " make ui   then http://127.0.0.1:3000 (the graph) and http://127.0.0.1:3001 (reports)"
    )
    sys.exit(0 if ok and not found.problems else 1)


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65534),
    default=UI_PORT,
    show_default=True,
    help="Port of the Dagster UI on 127.0.0.1.",
)
def ui(port: int) -> None:
    """Dagster's web UI with its daemon, so that sensors run, and the HTML reports one port above it."""
    paths = Paths.of()
    addresses = {ENV_UI_URL: f"http://127.0.0.1:{port}", ENV_REPORTS_URL: f"http://127.0.0.1:{port + 1}"}
    environment = {**addresses, **os.environ, "DAGSTER_HOME": str(prepare_home(paths, say))}
    _check_free(port)
    with served(paths.reports, port + 1, environment[ENV_REPORTS_URL]), TemporaryDirectory() as temporary:
        children = services(paths.root, Path(temporary), port, environment, say)
        say(f"Dagster http://127.0.0.1:{port}   reports http://127.0.0.1:{port + 1}   end with Ctrl-C")
        sys.exit(run(children))


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServingError(f"Port {port} is taken.", found=error, fix="Choose another --port.") from error
