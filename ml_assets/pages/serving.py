"""Where the pages of a project are served: their server writes it into a file, and keeps that locked while it lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ml_assets.lake.paths import private_folder

FILE = "locks/pages"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


@contextlib.contextmanager
def announced(data: Path, host: str, port: int) -> Iterator[None]:
    """Say where the pages are, while the block runs. Of two servers of one project, the first one says it.

    Args:
        data: The project's data folder.
        host: Where the server listens.
        port: The same.
    """
    name = "127.0.0.1" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # of another server, or a full disk: the pages are served all the same
            private_folder((data / FILE).parent)
            file = os.open(data / FILE, os.O_RDWR | os.O_CREAT, 0o644)
            stack.callback(os.close, file)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.truncate(file, 0)
            os.write(file, f"http://{name}:{port}".encode())
        yield


def served_at(data: Path) -> str | None:
    """The address of a project's pages; None where nobody serves them on this machine."""
    with contextlib.suppress(FileNotFoundError), (data / FILE).open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read() or None
    return None
