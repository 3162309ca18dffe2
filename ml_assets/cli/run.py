"""`ml-assets home | demo | ui`: prepare a project, and run it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

import ml_assets
from ml_assets.cli.group import console
from ml_assets.cli.show import print_summary
from ml_assets.store.lake import Lake
from ml_assets.store.paths import Paths, private_folder
from ml_assets.summary import summarize

UI_PORT = 3000
TOO_SOON_S = 10  # what ends as soon as that would end again


@click.command()
def home() -> None:
    """Prepare Dagster's home: the folder, its dagster.yaml, and .env so that every command finds it."""
    click.echo(prepare_home(Paths.of()))


def prepare_home(paths: Paths) -> Path:
    """Create $DAGSTER_HOME (default: data/dagster) with our dagster.yaml, and .env where there is none."""
    folder = private_folder(Path(os.environ.get("DAGSTER_HOME") or paths.data / "dagster").resolve())
    if not (folder / "dagster.yaml").exists():
        shutil.copy(Path(str(ml_assets.__file__)).parent / "dagster.yaml", folder / "dagster.yaml")
    env = paths.root / ".env"
    if not env.exists():
        env.write_text(f"DAGSTER_HOME={folder}\n")
    return folder


@click.command()
def demo() -> None:
    """A year of real flights: ten months make a champion, two more are scored before any model has seen them."""
    from ml_assets.demo import run_demo

    paths = Paths.of()
    prepare_home(paths)
    ok = run_demo(paths, console)
    with Lake(paths.lake, read_only=True) as lake:
        found = summarize(lake, "flights")
    print_summary(found)
    console.print(
        "\n[bold]Next[/]  make ui   then http://127.0.0.1:3000 (the graph) and http://127.0.0.1:3001 (reports)"
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
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(prepare_home(paths)),
        "ML_ASSETS_UI_URL": f"http://127.0.0.1:{port}",
        "ML_ASSETS_REPORTS_URL": f"http://127.0.0.1:{port + 1}",
    }
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)]
    if (paths.root / "workspace.yaml").exists():
        command += ["-w", "workspace.yaml"]
    with served(paths.reports, port + 1):
        console.print(f"Dagster http://127.0.0.1:{port}   reports http://127.0.0.1:{port + 1}   end with Ctrl-C")
        sys.exit(_supervise(command, paths.root, environment))


def _supervise(command: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Run a command until a person ends it; where it ends by itself, start it again. Returns its exit code.

    `dagster dev` ends when its daemon or its web server was killed, also with code 0; nothing is lost by that.
    """
    process: subprocess.Popen[bytes]
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True
        process.send_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored, by all children too
    while True:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, env=environment)  # noqa: S603 - our own command
        try:
            code = process.wait()
        except KeyboardInterrupt:
            return process.wait()  # Ctrl-C has reached it, too
        if ended or time.monotonic() - started < TOO_SOON_S:
            return code
        console.print("Dagster has ended by itself; it is started again.")


@contextlib.contextmanager
def served(folder: Path, port: int) -> Iterator[None]:
    """Serve a folder's files on 127.0.0.1 while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(folder)))
    except OSError as error:
        raise click.ClickException(f"Port {port} for the reports is taken ({error}); choose another --port.") from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not log every request."""

    def log_message(self, format: str, *args: object) -> None:
        pass
