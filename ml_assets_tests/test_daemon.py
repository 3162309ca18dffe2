"""The loop without a hand on anything: `ml-assets ui` runs, files are dropped, and the sensors do the rest."""

from __future__ import annotations

import copy
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ml_assets.errors import LakeError
from ml_assets.store.lake import Lake
from ml_assets_tests.conftest import SPEC, loans, wait_until

BIN = Path(sys.executable).parent
WAIT_S = 120


@dataclass
class Running:
    """A project under a running UI and daemon."""

    root: Path
    port: int
    environment: dict[str, str]

    def drop(self, batch: int, shift: float = 0.0) -> None:
        """Let a file arrive as people copy files: under another name first."""
        target = self.root / f"data/incoming/loans/loans_{batch}.parquet"
        hidden = target.with_name(f".{target.name}")
        loans(batch, rows=400, shift=shift).to_parquet(hidden)
        hidden.rename(target)

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
    root = write_project(tmp_path, spec)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(root / "data/dagster"),
        "PYTHONPATH": str(root),
        "PYTHONWARNINGS": "ignore",
    }
    with (tmp_path / "ui.log").open("w") as log:
        process = subprocess.Popen(
            [str(BIN / "ml-assets"), "ui", "--port", str(port)],
            cwd=root,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        )
        try:
            yield Running(root, port, environment)
        finally:
            os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def test_a_dropped_file_is_scored_watched_and_answered_by_one_training(running: Running) -> None:
    for batch in (1, 2, 3):
        running.drop(batch)
    features = "SELECT count(DISTINCT batch) FROM lake.loans.features"
    wait_until(lambda: running.count(features) == 3, WAIT_S, "features of three dropped files")
    promoted = "SELECT count(*) FROM lake.loans.champion WHERE decision = 'promoted'"
    wait_until(lambda: running.count(promoted) == 1, WAIT_S, "the first training, which starts by itself")
    asked = (
        "SELECT count(*) FROM lake.loans.retrain_events WHERE decision = 'train' AND trigger = '{}' AND run_id != ''"
    )
    assert running.count(asked.format("first")) == 1

    running.drop(4, shift=40.0)
    drifted = "SELECT count(*) FROM lake.loans.drift_report WHERE batch = '4' AND drifted"
    wait_until(lambda: running.count(drifted) == 1, WAIT_S, "a drift report of the dropped file")
    scored = "SELECT count(*) FROM lake.loans.predictions WHERE batch = '4' AND model_version = '1.0.0'"
    assert running.count(scored) == 400
    page = f"http://127.0.0.1:{running.port + 1}/loans/drift/4.html"
    with urllib.request.urlopen(page, timeout=10) as answer:
        assert b"<html" in answer.read(2000).lower()

    decided = "SELECT count(*) FROM lake.loans.champion"
    wait_until(lambda: running.count(decided) == 2, WAIT_S, "the training that answers the drift")
    time.sleep(15)  # three ticks of both sensors
    assert running.count(decided) == 2
    assert running.count("SELECT count(*) FROM lake.loans.training_set") == 2
    assert running.count(asked.format("drift")) == 1
    assert running.count("SELECT count(*) FROM lake.snapshots() WHERE commit_message = 'loans/drift_report'") == 1
