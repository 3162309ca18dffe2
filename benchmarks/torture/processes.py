"""kill -9 of every kind of process below `ml-assets ui`, while files arrive: everything comes back, each row once."""

from __future__ import annotations

import contextlib
import copy
import random
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.torture.outcome import Outcome
from ml_assets.errors import MLAssetsError
from ml_assets.lake.lake import Lake
from ml_assets_tests import ui_process
from ml_assets_tests.conftest import SPEC, loans, written_project

ROWS, BACK_S = 300, 90
DONE_S = 600  # a batch whose run and its retry were both killed is requested again after 5 minutes
# A kind of process -> words of its command line, any of which names it.
KINDS = {
    "daemon": ("dagster._daemon", "dagster-daemon", "dagster._cli.daemon"),
    "code server": ("api grpc", "api', 'grpc", "code-server"),
    "web server": ("ml_assets.ui.web",),
    "run worker": ("spawn_main", "execute_run"),
}


@dataclass
class Project:
    """A project under a running `ml-assets ui`."""

    root: Path
    port: int
    process: subprocess.Popen[bytes]

    def drop(self, batch: int) -> None:
        """Let a file arrive as people copy files: under another name first."""
        target = self.root / f"data/incoming/loans/loans_{batch}.parquet"
        hidden = target.with_name(f".{target.name}")
        loans(batch, rows=ROWS).to_parquet(hidden)
        hidden.rename(target)

    def below(self, kind: str) -> list[psutil.Process]:
        """Processes of a kind."""
        found = []
        for one in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                line = " ".join(one.cmdline())
                found += [one] if any(word in line for word in KINDS[kind]) else []
        return found

    def is_up(self) -> bool:
        """Does the web server answer, and is there a daemon and a code server?"""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/server_info", timeout=5) as answer:
                return answer.status == 200 and bool(self.below("daemon")) and bool(self.below("code server"))
        except (urllib.error.URLError, OSError):
            return False

    def rows(self, table: str) -> dict[str, int]:
        """Batch -> rows of a table; empty while it is not there."""
        with contextlib.suppress(MLAssetsError), Lake(self.root / "data/lake", read_only=True) as lake:
            if lake.exists(f"loans.{table}"):
                found = lake.rows(f"SELECT batch, count(*) AS rows FROM lake.loans.{table} GROUP BY batch")
                return {str(row["batch"]): int(row["rows"]) for row in found}
        return {}


def kill_services(folder: Path, seed: int, kills: int) -> Outcome:
    """Kill services and run workers at random moments; what was dropped meanwhile is ingested once."""
    outcome = Outcome(
        "kill -9 of daemon, code server, web server or run worker while files arrive",
        "it is started again, and every batch is ingested once",
    )
    numbers, killed = random.Random(seed), dict.fromkeys(KINDS, 0)
    spec: dict[str, Any] = copy.deepcopy(SPEC)
    del spec["candidates"]["tree"]
    with running(written_project(folder / "project", spec)) as project:
        outcome.expect(_within(BACK_S, project.is_up), "not up at first")
        for number in range(1, kills + 1):
            project.drop(number)
            kind = list(KINDS)[number % len(KINDS)]
            _within(20, lambda kind=kind: bool(project.below(kind)))  # a worker is there for seconds only
            time.sleep(numbers.random() * 3)
            for one in project.below(kind):
                with contextlib.suppress(psutil.Error):
                    one.kill()
                    killed[kind] += 1
            outcome.expect(_within(BACK_S, project.is_up), f"not up again {BACK_S} s after the kill of a {kind}")
        wanted = {str(batch): ROWS for batch in range(1, kills + 1)}
        _within(DONE_S, lambda: project.rows("features") == wanted)
        for table in ("raw_data", "validated_data", "features"):
            found = project.rows(table)
            for batch, rows in wanted.items():
                outcome.expect(found.get(batch) == rows, f"{table} has {found.get(batch)} rows of batch {batch}")
    left = [one for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or ())]
    outcome.expect(not left, f"still running after the end: {left}")
    outcome.notes = ", ".join(f"{number} of a {kind}" for kind, number in killed.items())
    return outcome


@contextlib.contextmanager
def running(root: Path) -> Iterator[Project]:
    """`ml-assets ui` on the project."""
    with ui_process.running(root) as (port, process):
        yield Project(root, port, process)


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.5)
    return condition()
