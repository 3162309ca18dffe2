"""What every listing has: `--json` with stable keys, and `--limit` where it can be long."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import click
from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=20, help="Maximum number of rows (default 20)."
)


def grid(*columns: str, title: str | None = None, numbers: Collection[str] = ()) -> Table:
    """A table without lines, which leaves the most room: whatever is too long for its column wraps, nothing is cut.

    Args:
        columns: Their titles.
        title: Of the table.
        numbers: Titles of columns that are aligned to the right.
    """
    made = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in columns:
        made.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    return made


def print_json(value: object) -> None:
    """Print rows, or one object."""
    click.echo(json.dumps(_plain(value), indent=2))


def _plain(value: Any) -> Any:
    """As JSON has it: no NaN, times in ISO format (UTC), everything else that it does not know as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, int) else str(value)
