"""The loop without a hand on anything: `ml-assets ui` runs, files are dropped, and the sensors do the rest."""

from __future__ import annotations

import contextlib
import copy
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import pytest

from ml_assets.errors import LakeError
from ml_assets.lake.lake import Lake
from ml_assets_tests import ui_process
from ml_assets_tests.conftest import SPEC, loans, wait_until

WAIT_S = 600


@dataclass
class Running:
    """A project under a running UI and daemon."""

    root: Path
    port: int
    process: subprocess.Popen[bytes]
    killed_at: int = 0

    def drop(self, batch: int, shift: float = 0.0) -> None:
        """Let a file arrive as people copy files: under another name first."""
        target = self.root / f"data/incoming/loans/loans_{batch}.parquet"
        hidden = target.with_name(f".{target.name}")
        loans(batch, rows=400, shift=shift).to_parquet(hidden)
        hidden.rename(target)

    def kill(self, *words: str) -> None:
        """kill -9 of the processes below the UI's whose commands have one of these words."""
        found, missing = [], set(words)
        for one in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                named = {word for word in words if word in " ".join(one.cmdline())}
                found, missing = found + [one] * bool(named), missing - named
        assert not missing, f"no process {missing}"
        for one in found:
            one.kill()
        self.killed_at = (self.root / "ui.log").stat().st_size

    def ticks(self, sensor: str) -> int:
        """Looks of a sensor since the last kill."""
        with (self.root / "ui.log").open("rb") as log:
            log.seek(self.killed_at)
            return log.read().count(f"Checking for new runs for sensor: {sensor}".encode())

    def lost(self) -> int:
        """Runs that failed because their process was gone."""
        with dg.DagsterInstance.from_config(str(self.root / "data/dagster")) as instance:
            failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
            ends = [event for run in failed for event in instance.all_logs(run.run_id)]
        return sum("is gone and has said nothing" in str(event.message) for event in ends)

    def count(self, sql: str) -> int:
        """A number from the lake; 0 while the table is not there."""
        try:
            with Lake(self.root / "data/lake", read_only=True) as lake:
                return int(lake.con.execute(sql).fetchall()[0][0])
        except LakeError:
            return 0
        except Exception as error:
            if "does not exist" in str(error):
                return 0
            raise


@pytest.fixture
def running(tmp_path: Path, write_project: Callable[..., Path]) -> Iterator[Running]:
    spec = copy.deepcopy(SPEC)
    spec["monitoring"]["drift_share"] = 0.3
    del spec["candidates"]["tree"]  # a linear model still ranks incomes that have moved: the second version is promoted
    root = write_project(tmp_path, spec)
    with ui_process.running(root) as (port, process):
        yield Running(root, port, process)
        below = psutil.Process(process.pid).children(recursive=True)
    psutil.wait_procs(below, timeout=5)
    assert [one for one in below if one.is_running()] == []


def waiting(condition: Callable[[], bool], what: str) -> None:
    """Wait for what nothing has to follow at once: each check opens the lake."""
    wait_until(condition, WAIT_S, what, every_s=2)


def asked(port: int, header: str, value: str) -> int:
    """Status of a query to Dagster's web server with a header."""
    headers = {"Content-Type": "application/json", header: value}
    query = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", b'{"query": "{version}"}', headers)
    try:
        with urllib.request.urlopen(query, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_loop_closes_by_itself_whoever_is_killed(running: Running) -> None:
    """Three files train a champion, a fourth has drifted and trains the next, through kill -9 of every process."""
    champion = "SELECT count(*) FROM lake.loans.alias_events WHERE alias = 'champion'"
    for batch in (1, 2, 3):
        running.drop(batch)
    waiting(lambda: running.count(champion) == 1, "the first training, which nobody asked for")
    assert running.count("SELECT count(*) FROM lake.loans.training_set") == 1

    running.drop(4, shift=40.0)
    wait_until(
        lambda: running.count("SELECT count(*) FROM lake.loans.raw_data WHERE batch = '4'") == 400, WAIT_S, "batch 4"
    )
    # The run's worker, after its first step, together with the only process that knew of it.
    running.kill("spawn_main", "api grpc", "code-server")
    drifted = "SELECT count(*) FROM lake.loans.drift_report WHERE batch = '4' AND drifted"
    waiting(lambda: running.count(drifted) == 1, "a drift report of the dropped file")
    assert running.lost() >= 1  # and retried
    assert asked(running.port, "Origin", "http://evil.example") == 403
    assert asked(running.port, "Host", f"127.0.0.1:{running.port}") == 200
    page = f"http://127.0.0.1:{running.port + 1}/reports/loans/drift/4.html"
    with urllib.request.urlopen(page, timeout=10) as answer:
        assert b"<html" in answer.read(2000).lower()

    wait_until(lambda: running.count("SELECT count(*) FROM lake.loans.training_set") == 2, WAIT_S, "a second training")
    running.kill("dagster._daemon", "ml_assets.ui.web")
    waiting(lambda: running.count(champion) == 2, "the alias that moves to the second version")

    waiting(lambda: running.ticks("loans_retrain") >= 3, "three further looks of the daemon")
    assert running.count(champion) == 2
    assert running.count("SELECT count(*) FROM lake.loans.training_set") == 2
    assert running.count("SELECT count(*) FROM lake.loans.retrain_events WHERE decision = 'train'") == 2
    answers = "SELECT count(*) FROM lake.loans.predictions WHERE role = 'champion' AND model_version = '1.0.0'"
    assert running.count(answers) == 400
    for table, rows in (("raw_data", 1600), ("features", 1600), ("predictions", 400), ("arrivals", 4)):
        assert running.count(f"SELECT count(*) FROM lake.loans.{table}") == rows, table
    assert running.count("SELECT count(*) FROM lake.loans.deployments WHERE NOT ok") == 0
    said = "SELECT count(*) - count(DISTINCT alert_id) FROM lake.loans.alerts WHERE state = 'raised'"
    assert running.count(said) == 0
