"""A program of its own, `python sqlite_copy.py SOURCE TARGET delete|wal [KEY=VALUE ...]`: copies a catalog.

Never import this where a lake may be open: Python's SQLite and DuckDB's must not open one file in one process
(sqlite_files.py). What the copy says of itself goes into `ducklake_metadata`.
"""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

WAIT_S = 30


def copy(source: Path, target: Path, journal_mode: str, marks: dict[str, str]) -> None:
    """Copy a catalog into a new file; of our own marks only the moments of recovery are kept."""
    with (
        closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=WAIT_S)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        new.execute(f"PRAGMA journal_mode = {journal_mode}")
        with new:
            for key in ("ml_assets_published_at", *marks):
                new.execute("DELETE FROM ducklake_metadata WHERE key = ?", (key,))
            new.executemany("INSERT INTO ducklake_metadata (key, value) VALUES (?, ?)", marks.items())


if __name__ == "__main__":
    try:
        marks = dict(mark.split("=", 1) for mark in sys.argv[4:])
        copy(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], marks)
    except (sqlite3.Error, OSError) as error:
        sys.exit(str(error))
