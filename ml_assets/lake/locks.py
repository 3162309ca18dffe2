"""A lock between processes that the kernel frees when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ml_assets.errors import LakeBusy, LakeError


@contextlib.contextmanager
def exclusive(file: Path, timeout_s: float, doing: str) -> Iterator[None]:
    """Hold the lock file alone.

    Args:
        file: Created where missing; it holds the process id of its last holder. A symbolic link is refused, and a
            file that holds anything else is left as it is.
        timeout_s: Seconds to wait for another holder.
        doing: What is locked, for the error.

    Raises:
        LakeBusy: Another process held it for longer.
        LakeError: It cannot be opened, or is no lock file.
    """
    lock = _opened(file)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LakeBusy(
                        f"Another process has been {doing} for over {timeout_s:g} s.",
                        found=f"process {_holder(lock) or 'unknown'}",
                        where={"file": file},
                        fix="Wait for it, or end it; nothing was changed here.",
                    ) from None
                time.sleep(0.01)
        _write_holder(lock, file)
        yield
    finally:
        os.close(lock)


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
