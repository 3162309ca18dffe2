"""Several processes that answer on one port: they are forked with the bound socket, and started again if they die."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

from ml_assets.errors import MLAssetsError

CHECK_S = 0.1
PARENT_S = 0.5  # between two looks at the parent
PAUSE_S = (0.0, 1.0, 5.0, 30.0)  # before a worker is started again, by how often it died before it was ready
STOP_S = 15.0  # for workers to end, before they are killed
Work = Callable[[int, Callable[[str], None]], None]


class Supervisor:
    """Starts workers, and starts them again.

    Args:
        work: Serves, in a process of its own, until a signal ends it; takes its number and what to call when ready.
        count: Number of workers.
    """

    def __init__(self, work: Work, count: int) -> None:
        self._work, self._count = work, count
        self._pids: dict[int, int] = {}  # process -> number of the worker
        self._due: dict[int, float] = dict.fromkeys(range(count), 0.0)  # worker -> when it is to be started
        self._failures = dict.fromkeys(range(count), 0)
        self._ready: dict[int, str] = {}
        self._reads, self._writes = os.pipe()
        self.is_ending = False

    def run(self, ready: Callable[[str], None]) -> int:
        """Until SIGTERM, SIGINT, or a worker that cannot begin. Returns the exit code."""
        code, is_told = 0, False
        while not self.is_ending:
            self._start_due()
            self._read_ready()
            if not is_told and len(self._ready) == self._count:
                ready(self._ready[0])
                is_told = True
            if self._reap() and not is_told:
                code = 1  # it has said why
                break
        self._stop()
        return code

    def _start_due(self) -> None:
        for worker, when in list(self._due.items()):
            if time.monotonic() >= when:
                del self._due[worker]
                self._pids[self._fork(worker)] = worker

    def _fork(self, worker: int) -> int:
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            os.close(self._reads)
            end_with(parent)
            self._work(worker, lambda what: _tell(self._writes, worker, what))
            code = 0
        except MLAssetsError as error:
            print(f"Error: {error}", file=sys.stderr)
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _read_ready(self) -> None:
        if not select.select([self._reads], [], [], CHECK_S)[0]:
            return
        for line in os.read(self._reads, 2**16).decode().splitlines():
            worker, _, what = line.partition(" ")
            self._ready[int(worker)] = what
            self._failures[int(worker)] = 0

    def _reap(self) -> bool:
        """Note the workers that have died; has one of them never been ready?"""
        failed = False
        for pid in list(self._pids):
            found, status = os.waitpid(pid, os.WNOHANG)
            if not found:
                continue
            worker = self._pids.pop(pid)
            if self._ready.pop(worker, None) is None:
                self._failures[worker] += 1
                failed = True
            pause = PAUSE_S[min(self._failures[worker], len(PAUSE_S) - 1)]
            print(f"worker {worker} ended ({_how(status)}); it is started again", file=sys.stderr, flush=True)
            self._due[worker] = time.monotonic() + pause
        return failed

    def _stop(self) -> None:
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while self._pids and time.monotonic() < deadline:
            for pid in list(self._pids):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    del self._pids[pid]
            time.sleep(0.02)
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def supervise(work: Work, count: int, say: Callable[[str], None]) -> None:
    """Serve with several workers until SIGTERM or Ctrl-C.

    Args:
        work: Serves in a process of its own.
        count: Number of workers.
        say: Called with what is served, once all are ready.
    """
    supervisor = Supervisor(work, count)

    def end(_signal: int, _frame: FrameType | None) -> None:
        supervisor.is_ending = True

    for word in (signal.SIGTERM, signal.SIGINT):
        signal.signal(word, end)
    sys.exit(supervisor.run(say))


def end_with(parent: int) -> None:
    """End this process as soon as its parent is another one: then the one that started it is gone.

    That is seen on every POSIX system, and also where the parent was killed before it could say anything.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def _tell(pipe: int, worker: int, what: str) -> None:
    os.write(pipe, f"{worker} {what}\n".encode())


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
