"""How far a long copy or check has come, on stderr: one line on a terminal, else a line now and then."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from ml_assets.lake.copying import Progress, Tell

TERMINAL_S, LOG_S = 0.2, 10


@contextlib.contextmanager
def progress(doing: str) -> Iterator[Tell]:
    """Say it as long as the block runs; a short one says nothing but on a terminal."""
    is_terminal = sys.stderr.isatty()
    every = TERMINAL_S if is_terminal else LOG_S
    said_at = time.monotonic()

    def tell(far: Progress) -> None:
        nonlocal said_at
        if time.monotonic() - said_at < every:
            return
        said_at = time.monotonic()
        text = f"{doing} {far.files:,} of {far.all_files:,} files, {megabytes(far.bytes)} of {megabytes(far.all_bytes)}"
        sys.stderr.write(f"\r{text}\033[K" if is_terminal else f"{text}\n")
        sys.stderr.flush()

    try:
        yield tell
    finally:
        if is_terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def megabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e6:,.1f} MB"
