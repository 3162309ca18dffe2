"""How long the home page takes: `python -m benchmarks.pages`, by default with 100 pipelines of 100 batches.

The lake is written with the tables' functions. Then a server is started as `ml-assets ui` starts it, and asked at once,
with and without what an earlier start has kept; and again after one pipeline has written.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from benchmarks.lakes import Story, write
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.tables import decisions
from ml_assets.tables.decisions import Decision
from ml_assets_tests.ports import free_port

LATEST_S = 120


@contextmanager
def serving(root: Path) -> Iterator[tuple[int, float]]:
    """A server of the pages while the block runs: its port, and the seconds until it listens."""
    port = free_port()
    began = time.perf_counter()
    repository = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": repository}
    with subprocess.Popen(
        [sys.executable, "-m", "ml_assets.pages", "127.0.0.1", str(port)], cwd=root, env=environment
    ) as process:
        try:
            while time.perf_counter() - began < LATEST_S:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.01)
            yield port, time.perf_counter() - began
        finally:
            process.terminate()


def load(port: int, path: str = "/") -> tuple[float, str]:
    """Seconds until a page is there whole, and its text."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LATEST_S)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return time.perf_counter() - began, text


def measure(root: Path, pipelines: int, batches: int) -> dict[str, float]:
    """Seconds of each thing that is measured, in a new project.

    Args:
        root: An empty folder.
        pipelines: How many.
        batches: Of each.
    """
    (root / "pyproject.toml").touch()
    paths, found = Paths(root, root / "data"), dict[str, float]()
    began = time.perf_counter()
    with Lake.of(paths) as lake:
        for n in range(pipelines):
            write(lake, Story(f"p{n:03}", batches, drifted=2 * (n % 10 == 0), waits=n % 20 == 0))
    found["lake written"] = time.perf_counter() - began
    with serving(root) as (port, started):
        found["start"] = started
        found["first page ever, with what is read by then"], text = load(port)
        began = time.perf_counter()
        while "for the first time" in text and time.perf_counter() - began < LATEST_S:
            time.sleep(0.1)
            text = load(port)[1]
        found["until every pipeline is read"] = time.perf_counter() - began
        found["a page, nothing changed"] = min(load(port)[0] for _ in range(5))
    with serving(root) as (port, _):
        found["first page after a start"], text = load(port)
        assert text.count("<article") == pipelines
        with Lake.of(paths) as lake:
            made = Decision("1.0.1", "kept", "the same model", [], "1.0.1", "sensor")
            decisions.record(lake, "p001", made, Commit("p001/champion", "r"))
        found["first page after a change"], text = load(port)
        assert "the same model" in load(port, "/pipelines/p001")[1]
    return found


@click.command()
@click.option("--pipelines", default=100, show_default=True)
@click.option("--batches", default=100, show_default=True, help="Of each pipeline.")
def main(pipelines: int, batches: int) -> None:
    """Print what was measured."""
    folder = Path(tempfile.mkdtemp())
    try:
        for what, seconds in measure(folder, pipelines, batches).items():
            print(f"{what:45} {seconds * 1000:10,.0f} ms")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
