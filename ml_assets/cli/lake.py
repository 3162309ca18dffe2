"""`ml-assets lake snapshots | diff | restore | recover | maintenance`: the lake's history and its maintenance."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import yaml
from rich.table import Table

from ml_assets.cli.group import console
from ml_assets.errors import LakeError, did_you_mean
from ml_assets.lake import history
from ml_assets.lake.compare import BatchChange
from ml_assets.lake.history import TableChange
from ml_assets.lake.lake import Lake
from ml_assets.lake.maintenance import run_maintenance
from ml_assets.lake.paths import Paths
from ml_assets.lake.recovery import recover as recover_catalog
from ml_assets.lake.restore import Plan
from ml_assets.lake.restore import plan as plan_restore
from ml_assets.lake.restore import restore as restore_plan
from ml_assets.lake.sqlite import SqliteCatalog
from ml_assets.tables.snapshot_names import snapshot_id

MOST_COLUMNS = 5
LOCK_TIMEOUT_S = 60
as_json = click.option("--json", "as_json", is_flag=True, help="For machines.")


@click.group()
def lake() -> None:
    """History and maintenance of the lake."""


@lake.command()
@click.argument("pipeline", required=False)
@click.option("--batch", help="Only writes of this batch.")
@click.option("--limit", default=20, show_default=True, help="At most so many.")
@as_json
def snapshots(pipeline: str | None, batch: str | None, limit: int, as_json: bool) -> None:
    """Every write that is kept, newest first, and the models that were trained on it."""
    with Lake(Paths.of().lake, read_only=True) as store:
        _check_pipeline(store, pipeline)
        found = history.snapshots(store, pipeline, batch, limit)
    if as_json:
        _print_json([asdict(one) for one in found])
        return
    table = Table("id", "time (UTC)")
    for title in ("asset", "batch", "rows", "run", "models"):
        table.add_column(title, overflow="fold")
    for one in found:
        own = (one.asset or "").replace("/", ".", 1)
        rows = ", ".join(
            _count(count) if name == own else f"{name.partition('.')[2]} {_count(count)}"
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
            ", ".join(one.models),
        )
    console.print(table)


@lake.command()
@click.argument("before", metavar="FROM")
@click.argument("after", metavar="TO")
@click.argument("pipeline", required=False)
@as_json
def diff(before: str, after: str, pipeline: str | None, as_json: bool) -> None:
    """What changed between two snapshots. FROM and TO are ids or model versions, such as 42 or flights@1.2.0."""
    with Lake(Paths.of().lake, read_only=True) as store:
        ids = [snapshot_id(store, word, pipeline) for word in (before, after)]
        changes = history.diff(store, ids[0], ids[1], pipeline)
    if as_json:
        _print_json({"from": ids[0], "to": ids[1], "tables": [_plain(change) for change in changes]})
        return
    if not changes:
        console.print(f"Nothing changed between snapshots {ids[0]} and {ids[1]}.")
        return
    table = Table("table", "batch", "added", "removed", "changed", "what")
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


@lake.command()
@click.argument("table")
@click.option("--batch", help="Only this batch; by default the whole table, with its columns.")
@click.option("--snapshot", required=True, help="The earlier state: an id or a model version, such as flights@1.2.0.")
@click.option("--why", required=True, help="The reason; it is kept with the snapshot.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore(table: str, batch: str | None, snapshot: str, why: str, yes: bool) -> None:
    """Write what a table held at a snapshot again, as a new snapshot: TABLE is such as flights.features."""
    with Lake(Paths.of().lake) as store:
        if not store.catalog.exists():
            raise LakeError("There is no lake yet.", where={"folder": store.folder})
        planned = plan_restore(store, table, snapshot_id(store, snapshot, table.partition(".")[0]), batch)
        if not planned.batches:
            console.print(f"{table} holds what it held at snapshot {planned.snapshot_id}; nothing is written.")
            return
        _print_plan(planned)
        if not yes:
            click.confirm("Write this as new snapshots?", abort=True)
        made = restore_plan(store, planned, why)
    console.print(f"Restored from snapshot {planned.snapshot_id}; new snapshots: {', '.join(map(str, made))}")


def _print_plan(planned: Plan) -> None:
    title = f"{planned.table} as at snapshot {planned.snapshot_id}"
    if planned.reshape and planned.change:
        title += ", its columns too"
    table = Table("batch", "rows now", "rows then", "with it", title=title, title_justify="left")
    for one in planned.batches:
        others = ", ".join(name for name in one.tables if name != planned.table)
        table.add_row(one.batch, _count(one.rows_now), _count(one.rows_then), others)
    console.print(table)


@lake.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="A backup of catalog.sqlite; by default the published copy, public.sqlite.",
)
def recover(source: Path | None) -> None:
    """Put a copy of the catalog in the place of one that is lost, broken or older than the copy.

    What was there keeps the ending .lost and its time. No data file is changed, now or by a later maintenance.
    """
    done = recover_catalog(SqliteCatalog(Paths.of().lake), source, LOCK_TIMEOUT_S)
    console.print(
        f"The catalog is {done.source} now: snapshot {done.snapshot_id} of {done.written_at:%Y-%m-%d %H:%M} UTC."
    )
    for file in done.aside:
        console.print(f"What was there: {file}")
    if done.unknown_files:
        console.print(f"{done.unknown_files:,} data files are not in it, such as those written later. They are kept.")
    console.print("`ml-assets status` lists the batches that must be made again.")


@lake.command()
@click.argument("pipeline")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--keep-days", type=click.IntRange(min=1), help="By default maintenance.keep_days of the pipeline's YAML."
)
@as_json
def maintenance(pipeline: str, dry_run: bool, keep_days: int | None, as_json: bool) -> None:
    """Merge small files, expire snapshots that nothing needs, remove files that nothing names."""
    paths = Paths.of()
    with Lake(paths.lake) as store:
        if not store.catalog.exists():
            raise LakeError("There is no lake yet.", where={"folder": store.folder})
        _check_pipeline(store, pipeline)
        done = run_maintenance(store, pipeline, keep_days or _keep_days(paths.root, pipeline), dry_run=dry_run)
    if as_json:
        _print_json(asdict(done))
        return
    console.print(
        f"{'would expire' if dry_run else 'expired'} {len(done.snapshots):,} snapshots, "
        f"{'merge' if dry_run else 'merged'} {done.files_merged:,} files, "
        f"{'remove' if dry_run else 'removed'} {done.files_removed:,} files; "
        f"{done.bytes_before / 1e6:,.1f} MB before, {done.bytes_after / 1e6:,.1f} MB after, {done.seconds:.2f} s"
    )


def _keep_days(root: Path, pipeline: str) -> int:
    """`maintenance.keep_days` as the pipeline's YAML has it; loading the definitions would take seconds.

    Raises:
        LakeError: The YAML is not below the project, or is wrong.
    """
    from ml_assets.spec import Maintenance

    for file in [*root.glob("*/defs/**/defs.yaml"), *root.glob("src/*/defs/**/defs.yaml")]:
        with contextlib.suppress(yaml.YAMLError, AttributeError, TypeError, KeyError, ValueError):
            attributes = yaml.safe_load(file.read_text(encoding="utf-8"))["attributes"]
            if attributes["name"] == pipeline:
                return Maintenance.model_validate(attributes.get("maintenance", {})).keep_days
    raise LakeError(
        f"No defs.yaml below {root} says how long the snapshots of {pipeline} are kept.", fix="Give --keep-days."
    )


def _check_pipeline(store: Lake, pipeline: str | None) -> None:
    known = sorted({name.partition(".")[0] for name in store.tables()})
    if pipeline is not None and pipeline not in known:
        raise LakeError(f"The lake has no pipeline {pipeline!r}.", fix=did_you_mean(pipeline, known))


def _plain(change: TableChange) -> dict[str, Any]:
    return {
        "table": change.table,
        "state": change.state,
        "key": change.key,
        "columns_added": change.columns_added,
        "columns_removed": change.columns_removed,
        "retyped": change.retyped,
        "batches": [asdict(one) for one in change.batches],
    }


def _count(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _print_json(value: Sequence[Any] | dict[str, Any]) -> None:
    click.echo(json.dumps(value, default=str, indent=2))
