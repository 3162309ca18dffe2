"""Does the process of a run still live? A fact that its kernel knows: the process holds a lock as long as it does.

A process id alone would not tell: ids are given again, other containers have their own, and after a restart of the
machine all of them name something else.

This lock is of Dagster's home and its machine, and no lock between runs: those go through the lake's catalog.

    HOME/workers/id             names this folder, wherever it is mounted
    HOME/workers/RUN_ID.lock    held, shared, by each process that works on the run; freed by the kernel
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = "workers"
OLD_S = 86_400
ENV_SOCKETS = "ML_ASSETS_SOCKETS"  # of the code servers
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Worker:
    """The process that works on a run.

    Args:
        run_id: The run; a run that is tried again has the tags of the one before.
        host: Name of its machine or container.
        boot: Which start of which machine; empty where the system does not tell.
        pid: Its process id there.
        locks: The folder of its lock; empty of an earlier version.
        has_server: It also holds a lock at Dagster's database (run_locks.py).
    """

    run_id: str
    host: str
    boot: str
    pid: int
    locks: str = ""
    has_server: bool = False

    @classmethod
    def here(cls, run_id: str, home: Path) -> Worker:
        """This process, as the one that works on a run."""
        return cls(run_id, socket.gethostname(), boot_id(), os.getpid(), locks_of(home))

    def is_in_sight(self, home: Path) -> bool:
        """Would this process know of its lock? A container may have a new name since, a machine a new start.

        Containers of one machine may each have a home of their own: the locks of another one are out of sight.
        """
        if self.locks and self.locks != locks_of(home):
            return False
        return self.host == socket.gethostname() or (self.boot != "" and self.boot == boot_id())


def boot_id() -> str:
    """Which start of this machine it is; empty where the system does not tell."""
    with contextlib.suppress(OSError):
        return BOOT_ID.read_text().strip()
    return ""


@contextlib.contextmanager
def holding(home: Path, run_id: str) -> Iterator[Worker]:
    """Hold the lock of a run in this process while the block runs."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    handle = os.open(lock_file(home, run_id), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield Worker.here(run_id, home)
    finally:
        os.close(handle)


def locks_of(home: Path) -> str:
    """Names a home's folder of locks, wherever it is mounted."""
    file = home / FOLDER / "id"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{secrets.token_hex(8)}")
        new.write_text(new.name)
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(new, file)
        new.unlink()
    return file.read_text()


def is_held(home: Path, run_id: str) -> bool:
    """Does any process hold the lock of a run?"""
    try:
        handle = os.open(lock_file(home, run_id), os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def listens(address: str | Path) -> bool:
    """Does a process listen at this socket?"""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(address)) == 0


def lock_file(home: Path, run_id: str) -> Path:
    """The lock of a run."""
    return home / FOLDER / f"{run_id}.lock"


def _sweep(folder: Path) -> None:
    """Remove old files that nobody holds."""
    for file in folder.glob("*.lock"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > OLD_S and not is_held(folder.parent, file.stem):
                file.unlink()
