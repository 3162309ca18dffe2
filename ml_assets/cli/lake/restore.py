"""`ml-assets lake restore`: an earlier state of a table as a new snapshot."""

from __future__ import annotations

import click

from ml_assets.cli.group import console
from ml_assets.cli.lake.values import counted
from ml_assets.cli.listing import grid
from ml_assets.cli.pipelines import why_option, writing
from ml_assets.tables.restore import Plan
from ml_assets.tables.restore import plan as plan_restore
from ml_assets.tables.restore import restore as restore_plan
from ml_assets.tables.snapshot_names import snapshot_id


@click.command(short_help="Write an earlier state as a new snapshot.")
@click.argument("table")
@click.option("--batch", help="Only this batch; by default the whole table, with its columns.")
@click.option("--snapshot", required=True, help="The earlier state: an id or a model version, such as flights@1.2.0.")
@why_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore(table: str, batch: str | None, snapshot: str, why: str, yes: bool) -> None:
    """Write what a table held at a snapshot again, as a new snapshot: TABLE is such as flights.features."""
    with writing() as lake:
        planned = plan_restore(lake, table, snapshot_id(lake, snapshot, table.partition(".")[0]), batch)
        if not planned.batches:
            console.print(f"{table} holds what it held at snapshot {planned.snapshot_id}; nothing is written.")
            return
        _print_plan(planned)
        if not yes:
            click.confirm("Write this as new snapshots?", abort=True)
        made = restore_plan(lake, planned, why)
    console.print(f"Restored from snapshot {planned.snapshot_id}; new snapshots: {', '.join(map(str, made))}")


def _print_plan(planned: Plan) -> None:
    title = f"{planned.table} as at snapshot {planned.snapshot_id}"
    if planned.reshape and planned.change:
        title += ", its columns too"
    table = grid("batch", "rows now", "rows then", "with it", title=title)
    for one in planned.batches:
        others = ", ".join(name for name in one.tables if name != planned.table)
        table.add_row(one.batch, counted(one.rows_now), counted(one.rows_then), others)
    console.print(table)
