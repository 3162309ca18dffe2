"""`ml-assets quarantine show | retry`: look at rows that break a rule, and take in those that break none any more."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
from rich.table import Table

from ml_assets.cli.group import console
from ml_assets.errors import MLAssetsError, SpecError, did_you_mean
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifiers, table
from ml_assets.runs import materialize
from ml_assets.scaffold.project import declared, project_at
from ml_assets.tables import pipelines


@click.group()
def quarantine() -> None:
    """Rows that break a rule."""


def held_batches(lake: Lake, pipeline: str, batches: tuple[str, ...]) -> list[str]:
    """Batches with quarantined rows, or those of them that are asked for.

    Raises:
        MLAssetsError: There is no such pipeline, or nothing of such a batch in quarantine.
    """
    known = pipelines.names(lake)
    if pipeline not in known:
        raise MLAssetsError(f"The lake has no pipeline {pipeline!r}; {did_you_mean(pipeline, known)}")
    held = lake.batches(f"{pipeline}.quarantine") if lake.exists(f"{pipeline}.quarantine") else []
    for batch in batches:
        if batch not in held:
            hint = did_you_mean(batch, held) if held else "the quarantine is empty"
            raise MLAssetsError(f"No row of batch {batch!r} is in quarantine; {hint}", where={"pipeline": pipeline})
    return list(batches) or held


@quarantine.command()
@click.argument("pipeline")
@click.option("--batch", "batches", multiple=True, help="Only this batch; may be given several times.")
@click.option("--rule", help="Only rows that break this rule, such as distance.min.")
@click.option("--limit", default=20, show_default=True, help="Rows that are shown.")
def show(pipeline: str, batches: tuple[str, ...], rule: str | None, limit: int) -> None:
    """How often each rule is broken, and the rows with the values in question."""
    with Lake(Paths.of().lake, read_only=True) as lake:
        wanted = held_batches(lake, pipeline, batches)
        counts = lake.rows(
            f"""SELECT split_part(reason, ': ', 1) AS rule, count(*) AS rows, count(DISTINCT batch) AS batches,
                min(batch) AS first, max(batch) AS last
            FROM (SELECT batch, unnest(reasons) AS reason FROM {table(f"{pipeline}.quarantine")}
                  WHERE list_contains($batches, batch))
            GROUP BY 1 ORDER BY 2 DESC, 1""",
            {"batches": wanted},
        )
        names = [row["rule"] for row in counts]
        if rule is not None and rule not in names:
            raise MLAssetsError(f"No quarantined row breaks the rule {rule!r}; {did_you_mean(rule, names)}")
        present = lake.columns(table(f"{pipeline}.quarantine")) if wanted else {}
        broken = _columns_of(pipeline, [rule] if rule else names)
        shown = ["batch", "row_id", "source_file", *(name for name in present if name in broken), "reasons"]
        rows = (
            lake.rows(
                f"""SELECT {identifiers(shown)} FROM {table(f"{pipeline}.quarantine")}
                WHERE list_contains($batches, batch)
                AND ($rule IS NULL OR len(list_filter(reasons, lambda r: split_part(r, ': ', 1) = $rule)) > 0)
                ORDER BY batch, row_id LIMIT $limit""",
                {"batches": wanted, "rule": rule, "limit": limit},
            )
            if wanted
            else []
        )
    if not rows:
        console.print(f"The quarantine of {pipeline} is empty.")
        return
    _print(f"{pipeline}: rules that quarantined rows break", counts)
    _print(f"{pipeline}: {'the first ' if len(rows) == limit else ''}{len(rows)} rows", rows)


def _columns_of(pipeline: str, rules: list[str]) -> set[str]:
    """Columns that rules look at: a rule of a column names it, one of the YAML's `rules` has it in its SQL."""
    try:
        texts = declared(project_at(Path.cwd()), pipeline).get("rules") or {}
    except SpecError:  # the lake may be looked at from anywhere
        texts = {}
    words = {name.removeprefix("type of ").partition(".")[0] for name in rules}
    return words | {word for name in rules for word in re.findall(r"\w+", texts.get(name, ""))}


def _print(title: str, rows: list[dict[str, object]]) -> None:
    shown = Table(title=title, title_justify="left")
    for name in rows[0]:
        shown.add_column(name, overflow="fold")
    for row in rows:
        values = (", ".join(value) if isinstance(value, list) else value for value in row.values())
        shown.add_row(*("" if value is None else str(value) for value in values))
    console.print(shown)


@quarantine.command()
@click.argument("pipeline")
@click.option("--batch", "batches", multiple=True, help="Only this batch; may be given several times.")
def retry(pipeline: str, batches: tuple[str, ...]) -> None:
    """Check the batches again under today's rules; rows that break none go on to the features.

    Exit code 1 where a batch is refused.
    """
    paths = Paths.of()
    with Lake(paths.lake, read_only=True) as lake:
        held = held_batches(lake, pipeline, batches)
        before = {batch: lake.count(f"{pipeline}.quarantine", batch) for batch in held}
        lookups = [name.partition(".")[2] for name in lake.tables() if name.startswith(f"{pipeline}.lookup_")]
    if not held:
        console.print(f"The quarantine of {pipeline} is empty.")
        return
    asset_names = ["validated_data", "quarantine", *lookups, "features"]
    select = ",".join(f'key:"{pipeline}/{asset_name}"' for asset_name in asset_names)
    ok = True
    for batch in held:
        ok &= materialize(paths, console, ["--select", select, "--partition", batch], log_name="quarantine")
    with Lake(paths.lake, read_only=True) as lake:
        after = {batch: lake.count(f"{pipeline}.quarantine", batch) for batch in held}
    _print(
        f"{pipeline}: quarantined rows",
        [{"batch": batch, "before": before[batch], "now": after[batch]} for batch in held],
    )
    sys.exit(0 if ok else 1)
