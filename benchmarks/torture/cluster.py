"""A lake on PostgreSQL and S3 whose writers are killed and whose servers crash under load."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.torture import writers
from benchmarks.torture.outcome import Outcome
from benchmarks.torture.writers import PROMISE, ROWS, Said, _as_said, started
from ml_assets_tests import postgres, s3

AWAY_S = (0.2, 4.0)  # how long a server is away: writers wait for it


@contextlib.contextmanager
def on_servers(folder: Path) -> Iterator[tuple[postgres.Server, s3.Server]]:
    """Both servers, named by the environment of this process and of the writers that it starts."""
    with postgres.server() as database, s3.running(folder / "s3", "works") as objects:
        named = {
            "ML_ASSETS_CATALOG": database.database(),
            "ML_ASSETS_LAKE_DATA": "s3://works/lake/data",
            **objects.environment(),
        }
        before = {name: os.environ.get(name) for name in named}
        os.environ.update(named)
        try:
            yield database, objects
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value


def kill_writers(folder: Path, seed: int, times: int) -> Outcome:
    """kill -9 of a writer, as on an embedded lake."""
    with on_servers(folder):
        outcome = writers.kill_writers(folder, seed, times)
    outcome.attack = f"{outcome.attack}, on PostgreSQL and S3"
    return outcome


def crash_servers(folder: Path, seed: int, times: int, count: int = 3) -> Outcome:
    """The servers crash and start again, by turns, while several processes write."""
    outcome = Outcome(f"PostgreSQL and S3 crash by turns while {count} processes write", PROMISE)
    numbers, said, lake = random.Random(seed), Said(), folder / "lake"
    with on_servers(folder) as (database, objects):
        processes = [started(lake, seed + number) for number in range(count)]
        listeners = [threading.Thread(target=said.listen, args=(process,)) for process in processes]
        for listener in listeners:
            listener.start()
        said.heard.wait(60)
        crashed = 0
        for number in range(times):
            time.sleep(1 + numbers.random() * 2)
            away = numbers.uniform(*AWAY_S)
            if number % 2:
                objects.stop()
                time.sleep(away)
                objects.start()
            else:
                database.stop(signal.SIGQUIT)
                time.sleep(away)
                database.start()
            crashed += 1
        time.sleep(5)
        gave_up = sum(process.poll() is not None for process in processes)
        for process in processes:
            process.kill()
            process.wait()
        for listener in listeners:
            listener.join()
        outcome.expect(*_as_said(lake, said, ROWS, any_order=True))
    outcome.expect(not gave_up, f"{gave_up} of {count} writers gave up: {said.errors}")
    outcome.notes = f"{said.writes} acknowledged writes, {crashed} crashes, {gave_up} of {count} writers gave up"
    return outcome
