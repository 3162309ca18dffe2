"""A program of its own, `python sqlite_copy.py SOURCE TARGET delete|wal KEY`: copies a catalog, page by page.

Never import this where a lake may be open: Python's SQLite and DuckDB's must not open one file in one process
(connection.py). The copy says under KEY in `ducklake_metadata` when it was made.
"""

import datetime as dt
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

WAIT_S = 30


def copy(source: Path, target: Path, journal_mode: str, key: str) -> None:
    """Copy a catalog into a new file; of our own marks only the moments of recovery are kept."""
    with (
        closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=WAIT_S)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        new.execute(f"PRAGMA journal_mode = {journal_mode}")
        with new:
            new.execute("DELETE FROM ducklake_metadata WHERE key IN (?, 'ml_assets_published_at')", [key])
            moment = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
            new.execute("INSERT INTO ducklake_metadata (key, value) VALUES (?, ?)", [key, moment])


if __name__ == "__main__":
    try:
        copy(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
    except (sqlite3.Error, OSError) as error:
        sys.exit(str(error))
