"""A lock between processes that the kernel frees when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ml_assets.errors import LakeBusy


@contextlib.contextmanager
def exclusive(file: Path, timeout_s: float, doing: str) -> Iterator[None]:
    """Hold the lock file alone.

    Args:
        file: Created where missing; it holds the process id of its last holder.
        timeout_s: Seconds to wait for another holder.
        doing: What is locked, for the error.

    Raises:
        LakeBusy: Another process held it for longer.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as lock:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    raise LakeBusy(
                        f"Another process has been {doing} for over {timeout_s:g} s.",
                        found=f"process {lock.read().strip() or 'unknown'}",
                        where={"file": file},
                        fix="Wait for it, or end it; nothing was changed here.",
                    ) from None
                time.sleep(0.01)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
