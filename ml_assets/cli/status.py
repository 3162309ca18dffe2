"""`ml-assets status`: what is fresh, what is not, why, and what will be done about it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.table import Table

from ml_assets.cli.group import console
from ml_assets.errors import did_you_mean
from ml_assets.store.files import DamagedFile
from ml_assets.store.lake import Lake
from ml_assets.store.paths import Paths

if TYPE_CHECKING:
    from ml_assets.graph.invalidation.staleness import Verdict


@click.command()
@click.argument("pipeline", required=False)
@click.option("--json", "as_json", is_flag=True, help="One object for each asset and batch.")
def status(pipeline: str | None, as_json: bool) -> None:
    """What is fresh, stale, missing or failed, why, and who mends it. Exit code 1 where something failed or lacks."""
    from ml_assets.graph.invalidation.facts import read_facts
    from ml_assets.graph.invalidation.nodes import pipelines_of
    from ml_assets.graph.invalidation.staleness import judge
    from ml_assets.project import definitions

    paths = Paths.of()
    declared = pipelines_of(definitions(paths.root))
    if pipeline is not None and pipeline not in declared:
        raise click.ClickException(f"There is no pipeline {pipeline!r}; {did_you_mean(pipeline, declared)}")
    verdicts: list[Verdict] = []
    damaged: list[DamagedFile] = []
    with Lake(paths.lake, read_only=True) as lake:
        for name in [pipeline] if pipeline else declared:
            facts = read_facts(lake, name)
            found = judge(declared[name], facts)
            verdicts += found
            damaged += lake.damaged_files(name)
            if not as_json:
                print_status(name, found, facts.batches())
    for file in damaged:
        click.echo(f"Error: {file}", err=as_json)
    if as_json:
        click.echo(json.dumps([asdict(verdict) for verdict in verdicts], indent=1))
    sys.exit(1 if damaged or any(verdict.state in ("failed", "missing") for verdict in verdicts) else 0)


def print_status(pipeline: str, verdicts: Sequence[Verdict], batches: Sequence[str]) -> None:
    """A row for each asset, and one for each reason why some of it is not fresh."""
    from ml_assets.graph.invalidation.staleness import STATES

    shown = [state for state in STATES if any(verdict.state == state for verdict in verdicts)]
    table = Table(title=f"{pipeline}: {len(batches)} batches", title_justify="left")
    table.add_column("asset")
    for state in shown:
        table.add_column(state, justify="right")
    for asset in dict.fromkeys(verdict.asset for verdict in verdicts):
        counted = Counter(verdict.state for verdict in verdicts if verdict.asset == asset)
        table.add_row(asset.partition("/")[2], *(str(counted[state] or "") for state in shown))
    console.print(table)
    for line in reasons(verdicts, batches):
        console.print(line, markup=False)


def reasons(verdicts: Iterable[Verdict], batches: Sequence[str]) -> list[str]:
    """What is not fresh, a line for all that share state, batches, reason and remedy."""
    from ml_assets.graph.invalidation.staleness import spans

    by_asset: dict[tuple[str, str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.state not in ("fresh", "kept"):
            by_asset.setdefault((verdict.state, verdict.why, verdict.todo, verdict.noun), []).append(verdict)
    lines: dict[tuple[str, str, str, str], list[str]] = {}
    for (state, why, todo, noun), group in by_asset.items():
        where = spans((verdict.batch for verdict in group if verdict.batch), batches)
        of = spans((batch for verdict in group for batch in verdict.of), batches)
        lines.setdefault((state, where, why + (f" of {of}" if of else ""), todo), []).append(noun)
    return [
        f"{state} {', '.join(nouns)}{' ' + where if where else ''}{_shown(why, todo)}"
        for (state, where, why, todo), nouns in lines.items()
    ]


def _shown(why: str, todo: str) -> str:
    if "\n" in why:  # an error, in the lines that it has
        return f" -> {todo}\n    " + why.replace("\n", "\n    ")
    return f": {why} -> {todo}"
