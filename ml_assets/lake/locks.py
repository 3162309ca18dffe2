"""A lock file that processes and threads get in the order in which they asked; the kernel frees it when one dies.

The lock is an flock of the file. By itself that is not fair: whoever tries next gets it. So one that must wait draws a
ticket first, a file in the folder `<file>.queue` named by the machine's monotonic clock and locked while its owner
lives, and only the owner of the oldest living ticket tries. One that comes to an empty queue draws none.

This is SQLite's side of `Catalog.lock`: everything outside lake/ asks the catalog.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ml_assets.errors import LakeBusy, LakeError

# Seconds between two tries: of the one whose turn it is, and of those behind.
NEXT_S, BEHIND_S = 0.001, 0.01


@contextlib.contextmanager
def exclusive(file: Path, timeout_s: float, doing: str) -> Iterator[Callable[[], None]]:
    """Hold the lock file alone; yields a function that does nothing: while the process lives, the lock is held.

    Args:
        file: Created where missing; it holds the process id of its last holder. A symbolic link is refused, and a
            file that holds anything else is left as it is.
        timeout_s: Seconds to wait for other holders.
        doing: What is locked, for the error.

    Raises:
        LakeBusy: Others held it for longer.
        LakeError: It cannot be opened, or is no lock file.
    """
    lock, queue = _opened(file), file.with_name(file.name + ".queue")
    deadline = time.monotonic() + timeout_s
    try:
        with contextlib.ExitStack() as waiting:
            ticket = None
            while not (is_next := _is_next(queue, ticket)) or not _taken(lock):
                if time.monotonic() > deadline:
                    raise LakeBusy(
                        f"Another process has been {doing} for over {timeout_s:g} s.",
                        found=f"process {_holder(lock) or 'unknown'}",
                        where={"file": file},
                        fix="Wait for it, or end it; nothing was changed here.",
                    )
                if ticket is None:
                    ticket = waiting.enter_context(_ticket(queue))
                else:
                    time.sleep(NEXT_S if is_next else BEHIND_S)
        _write_holder(lock, file)
        yield lambda: None
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_next(queue: Path, ticket: str | None) -> bool:
    """Is no living ticket older? Those of owners that died are removed."""
    with contextlib.suppress(OSError):  # no queue: nobody has ever waited
        for name in sorted(file.name for file in queue.glob("[0-9]*")):
            if name == ticket:
                return True
            if _is_held(queue / name):
                return False
    return True


def _is_held(ticket: Path) -> bool:
    try:
        handle = os.open(ticket, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False  # its owner's turn has come
    try:
        if not _taken(handle):
            return True
        with contextlib.suppress(OSError):
            ticket.unlink()
        return False
    finally:
        os.close(handle)


@contextlib.contextmanager
def _ticket(queue: Path) -> Iterator[str]:
    """A place in the queue; its name, which begins with the moment. Where the disk is full there is none to keep."""
    name = f"{time.monotonic_ns():020d}-{os.getpid()}-{threading.get_ident()}"
    handle = None
    try:
        with contextlib.suppress(OSError):
            queue.mkdir(exist_ok=True)
            # Locked before others see it: they would take it for that of a process that died.
            handle = os.open(queue / f".{name}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            fcntl.flock(handle, fcntl.LOCK_EX)
            (queue / f".{name}").rename(queue / name)
        yield name
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                (queue / name).unlink()
            os.close(handle)


def _opened(file: Path) -> int:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        fix = "Remove the symbolic link." if file.is_symlink() else "Free disk space, or give this user access to it."
        raise LakeError("A lock file cannot be opened.", found=error, where={"file": file}, fix=fix) from error


def _holder(lock: int) -> str:
    """The process id in a lock file; empty where none was written."""
    return os.pread(lock, 20, 0).decode("ascii", "replace").strip("\0 \n")


def _write_holder(lock: int, file: Path) -> None:
    """Name this process in the file, in place: it is never cut first, and only over what is a process id."""
    before = _holder(lock)
    if before and not before.isdigit():
        raise LakeError("A lock file holds something else.", where={"file": file}, fix="Move the file away.")
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
        os.pwrite(lock, str(os.getpid()).ljust(10).encode(), 0)
