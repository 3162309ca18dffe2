"""`ml-assets status`: what is fresh, what is not, why, and what will be done about it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, print_json
from ml_assets.cli.pipelines import optional_pipeline
from ml_assets.errors import UnknownPipeline
from ml_assets.home import home_of
from ml_assets.lake.damaged_files import DamagedFile
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.tables import versions

if TYPE_CHECKING:
    import dagster as dg

    from ml_assets.graph.staleness.states import AssetState


@click.command(short_help="What is fresh, stale, missing or failed, and why.")
@optional_pipeline
@json_option
def status(pipeline: str | None, as_json: bool) -> None:
    """What is fresh, stale, missing or failed, why, and what will fix it. Exits with 1 if anything failed or is
    missing, or a run has lost its process."""
    from ml_assets.graph.staleness.facts import read_facts
    from ml_assets.graph.staleness.nodes import pipelines_of
    from ml_assets.graph.staleness.states import evaluate
    from ml_assets.loading import definitions

    paths = Paths.of()
    defs = definitions(paths.root)
    declared, broken = pipelines_of(defs), broken_pipelines(defs)
    if pipeline is not None and pipeline not in {*declared, *broken}:
        raise UnknownPipeline(pipeline, [*declared, *broken])
    verdicts = [verdict for name, verdict in broken.items() if pipeline in (name, None)]
    damaged: list[DamagedFile] = []
    if not as_json:
        for verdict in verdicts:
            console.print(f"{verdict.asset.rpartition('/')[0]}: not loaded", markup=False)
            console.print("\n".join(reasons([verdict], [])), markup=False)
    with Lake.of(paths, read_only=True) as lake:
        for name in [name for name in declared if pipeline in (name, None)]:
            facts = read_facts(lake, name)
            found = evaluate(declared[name], facts)
            verdicts += found
            damaged += lake.damaged_files(name)
            if not as_json:
                print_status(name, found, facts.batches())
                print_newest(lake, name)
    for file in damaged:
        click.echo(f"Error: {file}", err=as_json)
    lost = lost_rows(paths, pipeline)
    if as_json:
        print_json([*verdicts, *lost])
    else:
        for run in lost:
            console.print(f"lost run {run['run_id']} of {run['asset']}: {run['why']} -> {run['todo']}", markup=False)
    sys.exit(1 if damaged or lost or any(verdict.state in ("failed", "missing") for verdict in verdicts) else 0)


def lost_rows(paths: Paths, pipeline: str | None) -> list[dict[str, str | None]]:
    """Started runs whose process is gone, as rows beside those of assets."""
    from ml_assets.launcher import lost_runs, open_instance

    home = home_of(paths)
    if not (home / "dagster.yaml").exists():
        return []
    todo = "`ml-assets ui` marks it as failed in half a minute, and retries what a sensor or the UI has launched"
    with open_instance(home) as instance:
        found = lost_runs(instance)
    return [
        {"asset": _what(run), "batch": None, "state": "lost", "why": why, "todo": todo, "run_id": run.run_id}
        for run, why in found
        if pipeline is None or pipeline in _pipelines(run)
    ]


def _what(run: dg.DagsterRun) -> str:
    """The job of a run, or the assets that were materialized by hand."""
    keys = sorted(key.to_user_string() for key in run.asset_selection or ())
    return ", ".join(keys) if run.job_name.startswith("__") and keys else run.job_name


def _pipelines(run: dg.DagsterRun) -> set[str]:
    return {run.tags.get("ml_assets/pipeline", ""), *(key.path[0] for key in run.asset_selection or ())}


def broken_pipelines(defs: dg.Definitions) -> dict[str, AssetState]:
    """Pipeline -> a verdict about its only asset, of those that cannot be loaded."""
    from ml_assets.broken import ASSET_NAME, problems_of
    from ml_assets.graph.staleness.states import AssetState

    todo = "correct it; `ml-assets validate` checks it"
    return {
        name: AssetState(f"{name}/{ASSET_NAME}", None, "failed", why=problem, todo=todo)
        for name, problem in problems_of(defs).items()
    }


def print_status(pipeline: str, verdicts: Sequence[AssetState], batches: Sequence[str]) -> None:
    """A row for each asset, and one for each reason why some of it is not fresh."""
    from ml_assets.graph.staleness.states import STATES

    shown = [state for state in STATES if any(verdict.state == state for verdict in verdicts)]
    table = grid("asset", *shown, title=f"{pipeline}: {len(batches)} batches", numbers=shown)
    for asset in dict.fromkeys(verdict.asset for verdict in verdicts):
        counted = Counter(verdict.state for verdict in verdicts if verdict.asset == asset)
        table.add_row(asset.partition("/")[2], *(str(counted[state] or "") for state in shown))
    console.print(table)
    for line in reasons(verdicts, batches):
        console.print(line, markup=False)


def print_newest(lake: Lake, pipeline: str) -> None:
    """What was decided about the newest version, where that is not the champion."""
    from ml_assets.pipeline_summary import newest_decision

    champion = versions.alias(lake, pipeline, "champion")
    newest = newest_decision(lake, pipeline, champion)
    if newest is not None:
        charge = f"champion: {champion.version if champion else 'none yet'}"
        console.print(f"version {newest.version} {newest.decision} ({charge}): {newest.why}", markup=False)


def reasons(verdicts: Iterable[AssetState], batches: Sequence[str]) -> list[str]:
    """What is not fresh, a line for all that share state, batches, reason and remedy."""
    from ml_assets.graph.staleness.states import spans

    by_asset: dict[tuple[str, str, str, str], list[AssetState]] = {}
    for verdict in verdicts:
        if verdict.state not in ("fresh", "frozen"):
            by_asset.setdefault((verdict.state, verdict.why, verdict.todo, verdict.asset_name), []).append(verdict)
    lines: dict[tuple[str, str, str, str], list[str]] = {}
    for (state, why, todo, asset_name), group in by_asset.items():
        where = spans((verdict.batch for verdict in group if verdict.batch), batches)
        of = spans((batch for verdict in group for batch in verdict.of), batches)
        lines.setdefault((state, where, why + (f" of {of}" if of else ""), todo), []).append(asset_name)
    return [
        f"{state} {', '.join(asset_names)}{' ' + where if where else ''}{_shown(why, todo)}"
        for (state, where, why, todo), asset_names in lines.items()
    ]


def _shown(why: str, todo: str) -> str:
    if "\n" in why:  # an error, in the lines that it has
        return f" -> {todo}\n    " + why.replace("\n", "\n    ")
    return f": {why} -> {todo}"
