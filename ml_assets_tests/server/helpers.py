"""Releases that are made without a training, and servers as real processes."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ml_assets.ml import manifest, release

ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    """A server process that is ready."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def ask(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Status and answer; a body that is no text is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            sent = body if isinstance(body, str | bytes | None) else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, sent, dict(headers or {}))
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def end(self) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


@contextlib.contextmanager
def started(log: Path, command: Sequence[str], cwd: Path | None = None) -> Iterator[Server]:
    """Run a Python module as a server until the block ends."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command, "--port", "0"], cwd=cwd, env=environment, stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + 60
        while "ready on http://" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        line = next(line for line in log.read_text().splitlines() if "ready on http://" in line)
        yield Server(process, log, int(line.rpartition(":")[2]))
    finally:
        process.kill()
        process.wait()


def forged(old: Path, new: Path, version: str, threshold: float | None = None) -> str:
    """A copy of a release as another version, perhaps with another threshold; returns its manifest's SHA-256."""
    shutil.copytree(old, new)
    facts, golden = release.read_facts(new), release.read_golden(new)
    if threshold is not None:
        file = new / "bundle" / "schema.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "threshold": threshold}))
        (new / "bundle" / manifest.NAME).unlink()
        manifest.write(new / "bundle", {})
        decisions = [str(int(score >= threshold)) for score in golden.scores]
        golden = dataclasses.replace(golden, decisions=decisions)
    release.write(new, dataclasses.replace(facts, version=version), golden)
    return manifest.write(new, {})
