"""What every listing has: `--json` with stable keys, and `--limit` where it can be long."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ml_assets.escaping import visible

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=20, help="Maximum number of rows (default 20)."
)


GAP = 2  # spaces between columns


class Grid(Table):
    """A table whose columns are as wide as their longest words at least, as long as the terminal is.

    Args:
        heading: A line above it, which may be wider than the table.
        options: Those of rich's table.
    """

    def __init__(self, heading: str | None, **options: Any) -> None:
        super().__init__(box=None, padding=(0, GAP, 0, 0), pad_edge=False, **options)
        self.heading = heading

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rich itself narrows the widest columns alike, also where that breaks their words."""
        measured = [
            [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
            for column in self.columns
        ]
        longest = [max(one.minimum for one in column) for column in measured]
        whole = [max(one.maximum for one in column) for column in measured]
        for column, width in zip(
            self.columns, fitted(longest, whole, options.max_width - GAP * len(whole)), strict=True
        ):
            column.width = width
        if self.heading:
            yield Text(visible(self.heading), "table.title", no_wrap=False, overflow="fold")
        yield from super().__rich_console__(console, options)


def fitted(longest: Sequence[int], whole: Sequence[int], room: int) -> list[int]:
    """Widths of columns side by side: the widest one gives way first, and breaks its words last.

    Args:
        longest: Width of each column's longest word.
        whole: Width of each column's longest line.
        room: What all of them may have together.
    """
    widths = [min(width, room) for width in whole]
    for least in (longest, [1] * len(widths)):
        while sum(widths) > room:
            spare = [place for place, width in enumerate(widths) if width > least[place]]
            if not spare:
                break
            widths[max(spare, key=widths.__getitem__)] -= 1
    return widths


def grid(*columns: str, title: str | None = None, numbers: Collection[str] = (), header: bool = True) -> Grid:
    """A table without lines, which leaves the most room: whatever is too long for its column wraps, nothing is cut.

    Args:
        columns: Their titles.
        title: Of the table.
        numbers: Titles of columns that are aligned to the right.
        header: Are the titles shown?
    """
    made = Grid(title, show_header=header)
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
