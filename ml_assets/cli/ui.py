"""`ml-assets ui`: the pages, and Dagster with its daemon."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from ml_assets.cli.group import console
from ml_assets.errors import ServingError
from ml_assets.home import home_of, prepare_home
from ml_assets.lake.paths import Paths
from ml_assets.pages.addresses import ENV_PAGES_URL
from ml_assets.project import project_at
from ml_assets.ui.locations import WORKSPACE
from ml_assets.ui.services import services
from ml_assets.ui.supervise import run
from ml_assets.ui.web import ENV_UI_URL

UI_PORT = 3000


@click.command(short_help="The home page, and Dagster with its daemon.")
@click.option(
    "--port",
    type=click.IntRange(1, 65534),
    default=UI_PORT,
    show_default=True,
    help="Port of the Dagster UI.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; there is no login.")
@click.option(
    "--keys",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of the keys that approve versions on the pages; also read from $ML_ASSETS_API_KEYS.",
)
def ui(port: int, host: str, keys: Path | None) -> None:
    """The pages that say what needs you, and Dagster's web UI with its daemon, so that sensors run.

    Dagster is at PORT, the pages are one port above it.
    """
    from ml_assets.server.keys import read_keys

    paths = Paths.of()
    if not (paths.root / WORKSPACE).is_file():
        project_at(paths.root)  # nothing is written where there is none
    addresses = {ENV_UI_URL: f"http://127.0.0.1:{port}", ENV_PAGES_URL: f"http://127.0.0.1:{port + 1}"}
    environment = {**addresses, **os.environ, "DAGSTER_HOME": str(prepare_home(paths, console.print))}
    for folder in filter(Path.exists, (paths.data, paths.data / "locks", home_of(paths))):
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    for taken in (port, port + 1):
        _check_free(host, taken)
    read_keys(keys)  # a mistake in the file is reported here, and not by a process that is started again
    with TemporaryDirectory() as temporary:
        children = services(paths.root, Path(temporary), (host, port), environment, console.print, keys)
        console.print(f"Home http://127.0.0.1:{port + 1}   Dagster http://127.0.0.1:{port}   end with Ctrl-C")
        sys.exit(run(children))


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServingError(f"Port {port} is taken.", found=error, fix="Choose another --port.") from error
