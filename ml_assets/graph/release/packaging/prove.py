"""A release under test: started as a real server process, sent its golden rows, timed, and stopped in any case."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ml_assets.ml import manifest, release

START_S, STOP_S, RESPONSE_S = 60, 5, 30
WARM_UP, TIMED, TIMED_S = 30, 300, 5.0
ROWS_A_REQUEST = 100
LOG_LINES = 20


@dataclass(frozen=True)
class Proof:
    """What a server process did.

    Args:
        started: Did it become ready?
        start_s: Seconds until then.
        parity: Largest difference from the golden scores; infinite where a prediction is missing or decides otherwise.
        p50_ms: Median of one-row requests, one after the other, in milliseconds.
        p95_ms: Their 95th percentile.
        rss_mib: Most memory that was seen, in MiB.
        log: The last lines that the process wrote.
    """

    started: bool
    start_s: float | None
    parity: float
    p50_ms: float | None
    p95_ms: float | None
    rss_mib: float | None
    log: str


def prove(folder: Path, golden: release.Golden, is_class: bool) -> Proof:
    """Start a release's server from its own sources and test it.

    A server that exits or predicts wrongly is an outcome, not an error: its parity is infinite.

    Args:
        folder: The release.
        golden: Its golden rows.
        is_class: Must decisions agree, too?
    """
    start_s = p50 = p95 = rss = None
    parity, problem = float("inf"), ""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as log, _process(folder, log) as process:
        port = _ready(process, log)
        if port is not None:
            start_s = time.monotonic() - started
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=RESPONSE_S)) as connection:
                try:
                    path = f"/v1/{release.read_facts(folder).pipeline}/predict"
                    parity = _parity(connection, path, golden, is_class)
                    p50, p95 = _latency(connection, path, golden)
                    rss = _rss_mib(process)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    problem = f"{type(error).__name__}: {error}"
        log.seek(0)
        lines = [*log.read().splitlines()[-LOG_LINES:], *problem.splitlines()]
    return Proof(port is not None, start_s, parity, p50, p95, rss, "\n".join(lines))


def as_row(proof: Proof | None) -> dict[str, Any]:
    """A proof as columns of `release_candidate`; None, where nothing was started."""
    if proof is None:
        return {"started": False}
    return {name: value for name, value in asdict(proof).items() if name != "log"}


@contextlib.contextmanager
def _process(folder: Path, log: TextIO) -> Iterator[subprocess.Popen[bytes]]:
    """The server process, in the environment that the Dockerfile sets; it ends with the block, or with this process."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(folder / release.SOURCES),
        **release.ENVIRONMENT,
    }
    digest = manifest.sha256(folder / manifest.NAME)  # of our own making: pack.py has compared it with the registry
    command = [sys.executable, "-m", "ml_assets.server", str(folder), "--port", "0"]
    command += ["--sha256", digest, "--parent", str(os.getpid())]
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(process: subprocess.Popen[bytes], log: TextIO) -> int | None:
    """The port on which the server says that it is ready; None where it ends, or is not within a minute."""
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
        text = os.pread(log.fileno(), 2**20, 0).decode(errors="replace")
        for line in text.splitlines(keepends=True):
            if " ready on http://" in line and line.endswith("\n"):
                return int(line.rstrip().rpartition(":")[2])
    return None


def _post(connection: http.client.HTTPConnection, path: str, body: bytes) -> Any:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    if response.status != http.HTTPStatus.OK:
        raise ValueError(text.decode(errors="replace"))
    return json.loads(text)


def _body(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps({"rows": rows}).encode()


def _parity(connection: http.client.HTTPConnection, path: str, golden: release.Golden, is_class: bool) -> float:
    scores: list[float] = []
    decisions: list[str] = []
    for start in range(0, len(golden.rows), ROWS_A_REQUEST):
        response = _post(connection, path, _body(golden.rows[start : start + ROWS_A_REQUEST]))
        scores += response["scores"]
        decisions += response["decisions"]
    return release.difference(golden, scores, decisions, is_class)


def _latency(connection: http.client.HTTPConnection, path: str, golden: release.Golden) -> tuple[float, float]:
    """Median and 95th percentile of one-row requests on one connection, in milliseconds."""
    bodies = [_body([row]) for row in golden.rows]
    for number in range(WARM_UP):
        _post(connection, path, bodies[number % len(bodies)])
    taken: list[float] = []
    deadline = time.monotonic() + TIMED_S
    while len(taken) < TIMED and time.monotonic() < deadline:
        before = time.perf_counter()
        _post(connection, path, bodies[len(taken) % len(bodies)])
        taken.append(1000 * (time.perf_counter() - before))
    p50, p95 = np.percentile(taken, [50, 95])
    return float(p50), float(p95)


def _rss_mib(process: subprocess.Popen[bytes]) -> float:
    """Most memory that the process has had, in MiB; what it has now where the system keeps no record of it."""
    import psutil

    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return float(psutil.Process(process.pid).memory_info().rss) / 2**20
