"""`ml-assets lake diff`: what changed between two snapshots."""

from __future__ import annotations

from typing import Any

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, print_json
from ml_assets.cli.pipelines import optional_pipeline, reading
from ml_assets.lake import history
from ml_assets.lake.compare import BatchChange
from ml_assets.lake.history import TableChange
from ml_assets.tables.snapshot_names import snapshot_id

MOST_COLUMNS = 5


@click.command()
@click.argument("before", metavar="FROM")
@click.argument("after", metavar="TO")
@optional_pipeline
@json_option
def diff(before: str, after: str, pipeline: str | None, as_json: bool) -> None:
    """What changed between two snapshots. FROM and TO are ids or model versions, such as 42 or flights@1.2.0."""
    with reading(pipeline) as lake:
        ids = [snapshot_id(lake, word, pipeline) for word in (before, after)]
        changes = history.diff(lake, ids[0], ids[1], pipeline)
    if as_json:
        print_json({"from": ids[0], "to": ids[1], "tables": [_plain(change) for change in changes]})
        return
    if not changes:
        console.print(f"Nothing changed between snapshots {ids[0]} and {ids[1]}.")
        return
    table = grid("table", "batch", "added", "removed", "changed", "what", numbers=("added", "removed", "changed"))
    for change in changes:
        what = _shape(change)
        for one in change.batches or [BatchChange(None, 0, 0)]:
            numbers = [f"{count:,}" if count else "" for count in (one.added, one.removed, one.changed)]
            table.add_row(change.table, one.batch or "", *numbers, ", ".join([*what, *_columns(one)]))
            what = []
    console.print(table)


def _shape(change: TableChange) -> list[str]:
    """What changed in a table besides its rows."""
    if change.state != "changed":
        return [change.state]
    words = [f"column {name} {kind} added" for name, kind in change.columns_added.items()]
    words += [f"column {name} {kind} removed" for name, kind in change.columns_removed.items()]
    words += [f"column {name} {old} -> {new}" for name, (old, new) in change.retyped.items()]
    return words


def _columns(one: BatchChange) -> list[str]:
    shown = [f"{name} {count:,}" for name, count in list(one.columns.items())[:MOST_COLUMNS]]
    more = len(one.columns) - len(shown)
    return [*shown, *([f"{more} more"] if more else [])]


def _plain(change: TableChange) -> dict[str, Any]:
    return {
        "table": change.table,
        "state": change.state,
        "key": change.key,
        "columns_added": change.columns_added,
        "columns_removed": change.columns_removed,
        "retyped": change.retyped,
        "batches": change.batches,
    }
