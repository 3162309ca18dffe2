"""Processes that are kept running: started again when they end, each time later, and ended together.

Belongs here: when a process is started and ended. Does not: which ones there are (services.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

CHECK_S = 0.5
STEADY_S = 30  # what has lived that long has started well
MOST_DELAY_S = 60
MOST_FALSE_STARTS = 5  # of a process that has never been steady: its settings are wrong
STOP_S = 8  # `docker stop` waits for 10


@dataclass
class Child:
    """One process.

    Args:
        name: What people call it.
        module: Module that it runs, with arguments.
        folder: Its working directory.
        environment: Its environment.
        say: Takes a line for people.
        may_start: May it be started for the first time?
        is_sound: Has the process of this id all that it needs? Where not, it is replaced.
    """

    name: str
    module: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    say: Callable[[str], object]
    may_start: Callable[[], bool] = lambda: True
    is_sound: Callable[[int], bool] = lambda _: True
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    false_starts: int = 0
    was_steady: bool = False
    orphans: list[psutil.Process] = field(default_factory=list)

    @property
    def is_hopeless(self) -> bool:
        """Has it ended again and again without ever having run for a while?"""
        return not self.was_steady and self.false_starts >= MOST_FALSE_STARTS

    def check(self) -> None:
        """Start it where it is due, and see whether it is well."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.due and (self.started or self.may_start()):
                self._start(now)
            return
        if now - self.started > STEADY_S:
            self.was_steady, self.false_starts = True, 0
        code = self.process.poll()
        if code is not None:
            self._put_off(now, _ended(code))
        elif not self.is_sound(self.process.pid):
            self.orphans += _members(self.process.pid)
            self._replace()
            self._put_off(now, "has lost a process that it needs")

    def _start(self, now: float) -> None:
        command = [sys.executable, "-m", "ml_assets.ui.child", str(os.getpid()), *self.module]
        self.started = now
        # A session of its own: Ctrl-C reaches the parent alone, which ends all in order.
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=self.folder, env=dict(self.environment), start_new_session=True
        )

    def _replace(self) -> None:
        assert self.process is not None  # noqa: S101 - for the type checker
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _put_off(self, now: float, why: str) -> None:
        delay = min(MOST_DELAY_S, 2**self.false_starts)
        self.process, self.due, self.false_starts = None, now + delay, self.false_starts + 1
        if not self.is_hopeless:
            self.say(f"The {self.name} {why}; it is started again in {delay} s.")


def run(children: Sequence[Child]) -> int:
    """Keep all of them running until SIGINT, SIGTERM or SIGHUP; then end them. Returns the exit code.

    1: one of them has never started well.
    """
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    try:
        while not stopping.is_set():
            for child in children:
                child.check()
            hopeless = [child.name for child in children if child.is_hopeless]
            if hopeless:
                children[0].say(f"The {hopeless[0]} does not start: its error is above.")
                return 1
            stopping.wait(CHECK_S)
        return 0
    finally:
        end(children)


def end(children: Sequence[Child]) -> None:
    """End all processes, those that they have started too, within `STOP_S` seconds."""
    running = [child.process for child in children if child.process is not None and child.process.poll() is None]
    below = [one for child in children for one in child.orphans]
    below += [one for process in running for one in _members(process.pid)]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_S
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    below += [one for process in running if process.returncode is None for one in _members(process.pid)]
    _kill(below)
    for process in running:
        process.wait()


def _members(group: int) -> list[psutil.Process]:
    """The processes of a group."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            found += [one] if os.getpgid(one.pid) == group else []
    return found


def _kill(processes: Iterable[psutil.Process]) -> None:
    for one in processes:
        with contextlib.suppress(psutil.Error):  # also where its id belongs to another by now
            one.kill()


def _ended(code: int) -> str:
    if code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return f"has ended (exit code {code})"
