"""A scoring server under attack, and releases that were tampered with: made from a small training of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil

from benchmarks.torture import malformed, server_attacks, tampering
from benchmarks.torture.outcome import Outcome
from ml_assets_tests.conftest import Project, failure_text
from ml_assets_tests.server.helpers import Server, started

PROMISES = {
    "slow": "closed within 45 s, and nobody else waits",
    "endless": "closed, and nobody else waits",
    "held": "memory stays bounded, and nobody else waits",
    "many": "the server goes on answering",
    "fuzzed": "no 500, and the server goes on",
    "tampered": "refused by the name of the file",
}
ROW = {"loan": 7, "income": 31.5, "region": "B", "signed": "2024-01-02T10:00:00"}


def attacked_server(folder: Path, seed: int, clients: int, requests: int) -> list[Outcome]:
    """Slow, endless, many and broken requests against one server process."""
    with released(folder) as release, _serving(folder, release) as server:
        process = psutil.Process(server.process.pid)

        def rss_mib() -> float:
            return process.memory_info().rss / 2**20

        rows = {
            "fuzzed": malformed.fuzzed(server.port, ROW, requests, seed),
            "endless": server_attacks.endless(server.port),
            "held": server_attacks.held_bodies(server.port, rss_mib),
            "many": server_attacks.many_connections(server.port),
            "slow": server_attacks.slow_clients(server.port, 45, clients),
        }
    return [_outcome(kind, row) for kind, several in rows.items() for row in several]


def tampered_releases(folder: Path, seed: int) -> list[Outcome]:
    """Every tampering of a release, loaded with and without its digest."""
    with released(folder) as release:
        return [_outcome("tampered", row) for row in tampering.attack(release, seed)]


@contextlib.contextmanager
def trained_project(folder: Path) -> Iterator[Project]:
    """A project whose training ran just now, below the folder."""
    root = folder / "project"
    root.mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        project = Project(root, instance)
        for batch in range(1, 5):
            project.write(batch)
        for result in (project.ingest("1", "2", "3", "4"), project.train()):
            if not result.success:
                raise RuntimeError(failure_text(result))
        yield project


@contextlib.contextmanager
def released(folder: Path) -> Iterator[Path]:
    """The folder of its release."""
    with trained_project(folder) as project:
        (row,) = project.rows("SELECT folder FROM {p}.release_candidate")
        yield project.paths.releases / row["folder"]


@contextlib.contextmanager
def _serving(folder: Path, release: Path) -> Iterator[Server]:
    with started(folder / "server.log", ["-m", "ml_assets.server", str(release)]) as server:
        yield server


def _outcome(kind: str, row: server_attacks.Row) -> Outcome:
    missing = [f"{row.what}: {row.note}"] * (row.tried - row.held)
    return Outcome(row.what, PROMISES[kind], row.tried, missing, row.note)
