"""The batches that `ml-assets quarantine` is about, and how it prints rows."""

from __future__ import annotations

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid
from ml_assets.errors import MLAssetsError, did_you_mean
from ml_assets.escaping import as_written
from ml_assets.lake.lake import Lake
from ml_assets.tables.data import QUARANTINE

batch_option = click.option("--batch", "batches", multiple=True, help="Only this batch; may be given several times.")


def held_batches(lake: Lake, pipeline: str, batches: tuple[str, ...]) -> list[str]:
    """Batches with quarantined rows, or the ones that are named.

    Raises:
        MLAssetsError: Nothing of such a batch is in quarantine.
    """
    name = QUARANTINE.of(pipeline)
    held = lake.batches(name) if lake.exists(name) else []
    for batch in batches:
        if batch not in held:
            hint = did_you_mean(batch, held) if held else "the quarantine is empty"
            raise MLAssetsError(f"No row of batch {batch!r} is in quarantine; {hint}", where={"pipeline": pipeline})
    return list(batches) or held


def print_rows(title: str, rows: list[dict[str, object]]) -> None:
    """Rows as a table with their keys as titles."""
    shown = grid(*rows[0], title=title)
    for row in rows:
        values = (", ".join(value) if isinstance(value, list) else value for value in row.values())
        shown.add_row(*("" if value is None else as_written(value) for value in values))
    console.print(shown)
