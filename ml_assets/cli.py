"""`ml-assets`: what Dagster's own commands do not do."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ml_assets.errors import MLAssetsError, did_you_mean
from ml_assets.store.lake import Lake
from ml_assets.store.paths import Paths
from ml_assets.summary import Summary, pipelines, summarize

console = Console(highlight=False, soft_wrap=True)
UI_PORT = 3000


class Group(click.Group):
    """A user's mistake ends with its text and exit code 1, never with a traceback."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except MLAssetsError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)


@click.group(cls=Group)
@click.version_option(package_name="ml-assets")
def main() -> None:
    """Machine-learning pipelines as Dagster assets on a DuckDB lake."""


@main.command()
def home() -> None:
    """Prepare Dagster's home: the folder, its dagster.yaml, and .env so that every command finds it."""
    click.echo(prepare_home(Paths.of()))


def prepare_home(paths: Paths) -> Path:
    """Create $DAGSTER_HOME (default: data/dagster) with our dagster.yaml, and .env where there is none."""
    folder = Path(os.environ.get("DAGSTER_HOME") or paths.data / "dagster").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists():
        shutil.copy(Path(__file__).parent / "dagster.yaml", folder / "dagster.yaml")
    env = paths.root / ".env"
    if not env.exists():
        env.write_text(f"DAGSTER_HOME={folder}\n")
    return folder


@main.command()
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


@main.command()
@click.argument("pipeline", required=False)
def summary(pipeline: str | None) -> None:
    """What is in the lake, how good the champion is, what needs a person. Exit code 1 where something does."""
    with Lake(Paths.of().lake, read_only=True) as lake:
        known = pipelines(lake)
        if pipeline is not None and pipeline not in known:
            raise click.ClickException(f"The lake has no pipeline {pipeline!r}; {did_you_mean(pipeline, known)}")
        found = [summarize(lake, name) for name in ([pipeline] if pipeline else known)]
    for one in found:
        print_summary(one)
    sys.exit(1 if any(one.problems for one in found) else 0)


def print_summary(found: Summary) -> None:
    """A summary as tables in the terminal."""
    table = Table(title=f"{found.pipeline}: {len(found.batches)} batches", title_justify="left", show_header=False)
    for noun, rows in found.rows.items():
        table.add_row(noun, f"{rows:,} rows")
    reasons = ", ".join(f"{row['reason']} ({row['rows']:,})" for row in found.quarantine[:5])
    table.add_row("quarantined for", reasons or "nothing")
    for row in found.candidates:
        scores = (
            f"{row['metric']} {row['validation_score']:.4f} on validation, {row['cv_score']:.4f} in cross-validation"
        )
        table.add_row(f"candidate {row['candidate']}", f"{scores} ({row['trials']} trials, {row['seconds']:.0f} s)")
    table.add_row("champion", _champion_line(found))
    drifted = [row for row in found.drift if row["drifted"]]
    listed = ", ".join(f"{row['batch']} ({row['columns']} columns)" for row in drifted)
    table.add_row("drifted batches", f"{len(drifted)} of {len(found.drift)} watched{': ' + listed if listed else ''}")
    console.print(table)
    for problem in found.problems:
        console.print(f"[red]problem[/] {problem}")


def _champion_line(found: Summary) -> str:
    if found.champion is None:
        return "none yet"
    line = f"version {found.champion.version} ({found.champion.candidate})"
    if found.test is not None:
        test = found.test
        between = "" if test["low"] is None else f" [{test['low']:.4f}, {test['high']:.4f}]"
        line += f", {test['metric']} {test['value']:.4f}{between} on {test['rows']:,} unseen rows"
    return line


@main.command()
@click.argument("pipeline")
@click.argument("version")
@click.option("--why", required=True, help="The reason; it is kept with the decision.")
def approve(pipeline: str, version: str, why: str) -> None:
    """Promote a version that passed its gates and waits for a person (gates.approval: manual)."""
    from ml_assets.graph.release.decision import approve as decide

    with Lake(Paths.of().lake) as lake:
        made = decide(lake, pipeline, version, why)
    console.print(f"{pipeline} {made.version} is the champion; before: {made.previous_champion or 'none'}")


@main.command()
@click.option("--port", default=UI_PORT, show_default=True, help="Port of the Dagster UI on 127.0.0.1.")
def ui(port: int) -> None:
    """Dagster's web UI with its daemon, so that sensors run, and the HTML reports one port above it."""
    paths = Paths.of()
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(prepare_home(paths)),
        "ML_ASSETS_REPORTS_URL": f"http://127.0.0.1:{port + 1}",
    }
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)]
    if (paths.root / "workspace.yaml").exists():
        command += ["-w", "workspace.yaml"]
    with served(paths.reports, port + 1):
        console.print(f"Dagster http://127.0.0.1:{port}   reports http://127.0.0.1:{port + 1}   end with Ctrl-C")
        process = subprocess.Popen(command, cwd=paths.root, env=environment)  # noqa: S603 - our own command
        with contextlib.suppress(KeyboardInterrupt):
            sys.exit(process.wait())
        sys.exit(process.wait())


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


if __name__ == "__main__":
    main()
