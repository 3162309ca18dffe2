"""Processes beside a test, for what several do at once: each is forked from one that has imported what they need."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess

# The server begins with the first process and holds no connection and no thread, so that a fork of it is safe.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [f"ml_assets_tests.{name}" for name in ("lake.catalog_contract", "lake.test_lake", "tables.test_maintenance")]
)


def started(target: Callable[..., object], *arguments: object) -> BaseProcess:
    """A process that calls a function of a module."""
    process = FORKED.Process(target=target, args=arguments)
    process.start()
    return process


def exit_codes(processes: Sequence[BaseProcess], timeout_s: float = 60) -> list[int | None]:
    """How each of them ended; None: it did not within the time, and was killed."""
    codes = []
    for process in processes:
        process.join(timeout_s)
        codes.append(process.exitcode)
        if process.is_alive():
            process.kill()
    return codes


def killed(process: BaseProcess) -> bool:
    """Has a SIGKILL ended it?"""
    process.join(60)
    return process.exitcode == -signal.SIGKILL


def eventually(happens: Callable[[], object], seconds: float = 10) -> None:
    """Wait for what other processes do."""
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.01)
