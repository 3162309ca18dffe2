"""What a notebook or script calls: the lake, opened for reading."""

from __future__ import annotations

from pathlib import Path

from ml_assets.store.lake import Lake
from ml_assets.store.paths import Paths


def open_lake(root: str | Path | None = None) -> Lake:
    """The project's lake, read-only.

    Args:
        root: Project folder; by default the one around the working directory.

    Example:
        `open_lake().table("flights.predictions").df()`; `.con` is the DuckDB connection for any SQL.

    Raises:
        LakeError: There is no lake yet, once it is used.
    """
    return Lake(Paths.of(Path(root) if root else None).lake, read_only=True)
