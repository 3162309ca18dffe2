"""How the commands about the lake write values in a cell."""

from __future__ import annotations


def counted(count: int | None) -> str:
    """A number of rows; empty where there is none."""
    return "" if count is None else f"{count:,}"
