"""A server under half its load for some minutes, while champions change, outcomes come back and workers are killed.

`python -m benchmarks.soak [--minutes 10]` serves a small model with two workers. Clients send one-row requests at half
the rate that the server reached before, each with an id of its own. Meanwhile the champion's alias moves every few
seconds, outcomes of some requests are sent, and a worker is killed with SIGKILL, twice. Afterwards the log is ingested:
every request that was answered must be in prediction_log once, and every outcome that was taken in feedback once.

`python -m benchmarks.soak --swaps 1000` has one worker, which is not killed, and moves the alias as often as that, each
time once the other version answers, at a tenth of the load. No request may fail; `--minutes` is a limit then.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.serve import rss_mib
from benchmarks.torture.servers import ROW, trained_project
from ml_assets.graph.scoring import prediction_log
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.sources.segments import segments_of
from ml_assets.tables import versions
from ml_assets_tests.conftest import Project, failure_text, written_project
from ml_assets_tests.server.helpers import started

CLIENTS, WORKERS, KILLS = 8, 2, 2
SWAP_S, FEEDBACK_SHARE, TIMEOUT_S = 5.0, 0.05, 20.0
VERSIONS = ("1.0.0", "1.0.1")


@dataclass
class Seen:
    """What clients saw.

    Args:
        answered: Request id -> version.
        outcomes: Ids of feedback that was taken.
        latencies_ms: Of requests that were answered.
        lost: When a request got no answer, on the clock of the run.
        refused: Status -> how often.
        is_over: Clients end.
    """

    answered: dict[str, str] = field(default_factory=dict)
    outcomes: set[str] = field(default_factory=set)
    latencies_ms: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)
    is_over: bool = False


class Connection:
    """A connection that is opened again where it broke."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, payload: object) -> tuple[int, bytes]:
        """Status and body of a response.

        Raises:
            OSError: The connection broke before the response was whole.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        body = json.dumps(payload).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            writer.write(head.encode() + body)
            received = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT_S)
            fields = dict(line.lower().split(b": ", 1) for line in received.split(b"\r\n")[1:-2])
            return int(received.split(b" ", 2)[1]), await reader.readexactly(int(fields[b"content-length"]))
        except (EOFError, TimeoutError) as error:
            raise OSError(str(error)) from error
        finally:
            if sys.exc_info()[0] is not None:
                self.close()

    def close(self) -> None:
        """Open a new one next time."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def ask(port: int, number: int, until: float, interval_s: float, seen: Seen, began: float) -> None:
    """A client: a request every so often, as soon as the last one is answered."""
    connection, rng = Connection(port), random.Random(number)
    due = time.monotonic() + rng.random() * interval_s
    for turn in itertools.count():
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        due = max(due + interval_s, time.monotonic() - 1)
        if time.monotonic() > until or seen.is_over:
            break
        request_id, row = str(uuid.uuid4()), {**ROW, "loan": turn * CLIENTS + number + 1}
        sent = time.monotonic()
        try:
            status, body = await connection.post("/v1/loans/predict", {"rows": [row], "id": request_id})
            if status != 200:
                seen.refused[status] += 1
                continue
            seen.latencies_ms.append(1000 * (time.monotonic() - sent))
            seen.answered[request_id] = json.loads(body)["version"]
            if rng.random() < FEEDBACK_SHARE:
                outcome = {"id": request_id, "row": 0, "values": {"late_days": rng.randrange(30)}}
                status, _ = await connection.post("/v1/loans/feedback", {"outcomes": [outcome]})
                seen.outcomes |= {request_id} if status < 300 else set()
        except OSError:
            seen.lost.append(time.monotonic() - began)
    connection.close()


async def clients(port: int, seconds: float, rate: float | None, seen: Seen) -> None:
    """All clients for some seconds, at a rate of requests a second together; None: as fast as they are answered."""
    began = time.monotonic()
    interval_s = CLIENTS / rate if rate else 0.0
    await asyncio.gather(*(ask(port, n, began + seconds, interval_s, seen, began) for n in range(CLIENTS)))


async def soak(port: int, paths: Paths, supervisor: psutil.Process, seconds: float, rate: float) -> tuple[Seen, int]:
    """Clients, swaps and kills side by side; what clients saw, and the number of swaps."""
    seen, swaps = Seen(), 0

    async def swap() -> None:
        nonlocal swaps
        for version in itertools.cycle(reversed(VERSIONS)):
            await asyncio.sleep(min(SWAP_S, seconds / 3))
            await asyncio.to_thread(promote, paths, version)
            swaps += 1

    async def kill() -> None:
        for _ in range(KILLS):
            await asyncio.sleep(seconds / (KILLS + 1))
            os.kill(random.Random(0).choice(supervisor.children()).pid, signal.SIGKILL)

    others = [asyncio.create_task(swap()), asyncio.create_task(kill())]
    await clients(port, seconds, rate, seen)
    for task in others:
        task.cancel()
    return seen, swaps


async def swapped(port: int, paths: Paths, count: int, seconds: float, rate: float) -> tuple[Seen, int]:
    """Clients, and so many swaps one after the other; what clients saw, and how often the other version answered."""
    seen, swaps, connection, until = Seen(), 0, Connection(port), time.monotonic() + seconds
    running = asyncio.create_task(clients(port, float("inf"), rate, seen))
    for version in itertools.islice(itertools.cycle(VERSIONS), count):
        if time.monotonic() > until:
            break
        await asyncio.to_thread(promote, paths, version)
        status, body = await connection.post("/v1/loans/reload", {})
        swaps += status == 200 and json.loads(body)["version"] == version
    connection.close()
    seen.is_over = True
    await running
    return seen, swaps


def promote(paths: Paths, version: str) -> None:
    """Move the champion's alias."""
    with Lake.of(paths) as lake:
        event = versions.alias_event("loans", "champion", version, "the soak", "soak", "")
        lake.append([event], Commit("loans/champion"))


@dataclass(frozen=True)
class Logged:
    """What came of the log.

    Args:
        predictions: Request id -> rows in prediction_log.
        outcomes: The same for feedback.
    """

    predictions: Counter[str]
    outcomes: Counter[str]


def ingested(paths: Paths) -> Logged:
    """The log in the lake: ingested twice, since it must not matter."""
    with Lake.of(paths) as lake:
        for hour in sorted(set(map(prediction_log.hour_of, segments_of(paths, "loans").sizes()))) * 2:
            prediction_log.ingest(lake, paths, "loans", hour, Commit("loans/prediction_log"))
        found = [lake.rows(f"SELECT request_id FROM lake.loans.{name}") for name in ("prediction_log", "feedback")]
    return Logged(*(Counter(row["request_id"] for row in rows) for rows in found))


def report(seen: Seen, logged: Logged, swaps: int, memory: Sequence[float], rate: float, kills: int = KILLS) -> int:
    """Print the table; 1 where something acknowledged was lost or doubled, or a request was refused."""
    lost_rows = [name for name in seen.answered if not logged.predictions[name]]
    lost_outcomes = [name for name in seen.outcomes if not logged.outcomes[name]]
    doubled = sum(count > 1 for each in (logged.predictions, logged.outcomes) for count in each.values())
    p50, *_, p99 = statistics.quantiles(seen.latencies_ms, n=100)[49::49]
    versions_seen = Counter(seen.answered.values())
    rows = {
        "requests answered": f"{len(seen.answered):,} at {rate:,.0f} a second; p50 {p50:.1f} ms, p99 {p99:.1f} ms",
        "by version": ", ".join(f"{name}: {count:,}" for name, count in sorted(versions_seen.items())),
        "swaps of the champion": swaps,
        "workers killed": kills,
        "requests without an answer": f"{len(seen.lost)}, at second {', '.join(map(str, map(int, seen.lost))) or '-'}",
        "requests refused": dict(seen.refused) or 0,
        "outcomes taken": f"{len(seen.outcomes):,}",
        "rows of answered requests that are not in the lake": len(lost_rows),
        "outcomes that are not in the lake": len(lost_outcomes),
        "rows and outcomes that are there twice": doubled,
        "rows in the lake beyond those": sum(logged.predictions.values()) - len(seen.answered),
        "memory at start and end, MiB": f"{memory[0]:.0f}, {memory[-1]:.0f}; highest {max(memory):.0f}",
    }
    print("| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items()))
    return 1 if lost_rows or lost_outcomes or doubled or seen.refused or len(seen.lost) > kills * CLIENTS else 0


def run(paths: Paths, folder: Path, minutes: float, swaps_wanted: int = 0, probe_s: float = 5.0) -> int:
    """Soak a trained project that has both versions; for some minutes, or for a number of swaps."""
    workers, kills = (1, 0) if swaps_wanted else (WORKERS, KILLS)
    command = ["-m", "ml_assets.cli", "serve", "loans", "--workers", str(workers)]
    with started(folder / "server.log", command, cwd=paths.root) as server:
        supervisor, probe = psutil.Process(server.process.pid), Seen()
        asyncio.run(clients(server.port, probe_s, None, probe))
        rate = len(probe.answered) / probe_s / (10 if swaps_wanted else 2)
        memory = [rss_mib(supervisor)]
        if swaps_wanted:
            seen, swaps = asyncio.run(swapped(server.port, paths, swaps_wanted, 60 * minutes, rate))
        else:
            seen, swaps = asyncio.run(soak(server.port, paths, supervisor, 60 * minutes, rate))
        memory.append(rss_mib(supervisor))
        if server.end() != 0:
            print((folder / "server.log").read_text()[-2000:])
    seen.answered |= probe.answered
    seen.outcomes |= probe.outcomes
    failed = report(seen, ingested(paths), swaps, memory, rate, kills)
    return failed or int(swaps < swaps_wanted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--swaps", type=int, default=0, help="swap so often, with one worker that is not killed")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)  # Dagster's events of the training
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, trained_project(Path(folder)) as project:
        train_again(project)
        return run(declared(project, Path(folder)), Path(folder), given.minutes, given.swaps)


def train_again(project: Project) -> None:
    """A second version, which knows one more batch."""
    project.write(5)
    for result in (project.ingest("5"), project.train()):
        if not result.success:
            raise RuntimeError(failure_text(result))


def declared(project: Project, folder: Path) -> Paths:
    """A copy of the project with its YAML, whose answers a server logs."""
    root = written_project(folder / "declared", project.spec_dict, project.sql)
    shutil.copytree(project.paths.data, root / "data", dirs_exist_ok=True)
    return Paths(root, root / "data")


if __name__ == "__main__":
    sys.exit(main())
