"""`ml-assets lake snapshots`: every write that the lake keeps."""

from __future__ import annotations

import click

from ml_assets.cli.group import console
from ml_assets.cli.lake.values import counted
from ml_assets.cli.listing import grid, json_option, limit_option, print_json
from ml_assets.cli.pipelines import optional_pipeline, reading
from ml_assets.lake import history
from ml_assets.tables.training_sets import pinned


@click.command(short_help="Every write that is kept, newest first.")
@optional_pipeline
@click.option("--batch", help="Only writes of this batch.")
@limit_option
@json_option
def snapshots(pipeline: str | None, batch: str | None, limit: int, as_json: bool) -> None:
    """Every write that is kept, newest first, and the models that were trained on it."""
    with reading(pipeline) as lake:
        found = history.snapshots(lake, pinned(lake), pipeline, batch, limit)
    if as_json:
        print_json(found)
        return
    is_pinned = any(one.models for one in found)
    table = grid("id", "time (UTC)", "asset", "batch", "rows", "run", *(["models"] if is_pinned else []))
    for one in found:
        own = (one.asset or "").replace("/", ".", 1)
        rows = ", ".join(
            counted(count) if name == own else f"{name.partition('.')[2]} {counted(count)}"
            for name, count in one.rows.items()
        )
        if one.restored:
            rows += f" (restored from {one.restored['snapshot']} by {one.restored['by']}: {one.restored['why']})"
        table.add_row(
            str(one.snapshot_id),
            f"{one.written_at:%y-%m-%d %H:%M}",
            one.asset or "-",
            one.batch or "",
            rows,
            (one.run_id or "")[:8],
            *([", ".join(one.models)] if is_pinned else []),
        )
    console.print(table)
