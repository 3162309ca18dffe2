"""`ml-assets init | suggest`: from files to a pipeline, and from statistics to constraints."""

from __future__ import annotations

from pathlib import Path

import click

from ml_assets.cli.group import console
from ml_assets.errors import LakeError
from ml_assets.home import prepare_home
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import table
from ml_assets.scaffold import project as projects
from ml_assets.scaffold.draft import Draft, draft
from ml_assets.scaffold.evidence import is_id_name
from ml_assets.scaffold.render import column_line, decisions
from ml_assets.scaffold.suggest import Suggestion, holds, suggest_columns

CONSTRAINTS = ("min", "max", "allowed", "regex")


@click.command()
@click.argument("name")
@click.option("--source", required=True, help="Folder of files, one file, or a glob: parquet, csv, jsonl (.gz, .zst).")
@click.option("--target", required=True, help="Column to predict.")
@click.option("--into", default=".", help="Folder of the project; where there is none, a new one is made.")
def init(name: str, source: str, target: str, into: str) -> None:
    """Write a pipeline that runs as it is, inferred from files; in an empty folder with a project around it."""
    project = projects.project_at(Path(into).expanduser())
    folder = project.defs / name
    projects.refuse_existing(folder)
    made = draft(name, source, target, project.root, Path.cwd(), lambda text: console.print(text, markup=False))
    written = [] if project.exists else projects.write_project(project)
    written += projects.write_pipeline(made, folder)
    if not project.exists:
        prepare_home(Paths.of(project.root))
    for file in written:
        console.print(f"wrote {file.relative_to(project.root)}", markup=False)
    console.print("\nWhat a person should decide:")
    for line in decisions(made):
        console.print(f"- {line}", markup=False)
    if made.target.is_open:
        console.print(f"\nFirst write target.sql, in {projects.place_of_target(folder / 'defs.yaml')}.", markup=False)
    console.print("\nRun it:")
    for line in commands(made, project):
        console.print(f"  {line}", markup=False)


def commands(made: Draft, project: projects.Project) -> list[str]:
    """What to run next: register the batches, take them all to a champion, look at it."""
    first, last = made.batches[0], made.batches[-1]
    which = f"--partition {first!r}" if first == last else f"--partition-range {f'{first}...{last}'!r}"
    run = f"dagster asset materialize -m {project.module}.definitions --select"
    into = [] if project.root == Path.cwd().resolve() else [f"cd {project.root}"]
    return [
        *into,
        f"{run} 'key:\"{made.name}/arrivals\"'",
        f"{run} '+key:\"{made.name}/champion\"' {which}",
        f"ml-assets summary {made.name}",
    ]


@click.command()
@click.argument("pipeline")
def suggest(pipeline: str) -> None:
    """Lines of YAML for declared columns without constraints, from the statistics of all batches."""
    project = projects.project_at(Path.cwd())
    declared = projects.declared(project, pipeline).get("columns") or []
    with Lake(Paths.of(project.root).lake, read_only=True) as lake:
        suggestions = suggestions_of(lake, pipeline)
    shown = 0
    for column in declared:
        one = suggestions.get(column["name"])
        if one is None or any(key in column for key in CONSTRAINTS):
            continue
        more = {key: value for key, value in one.keys().items() if key in CONSTRAINTS}
        if more:
            shown += 1
            console.print(f"    {column_line(one, keys={**column, **more})}", markup=False)
    if not shown:
        console.print("Every column that could have a constraint has one.")


def suggestions_of(lake: Lake, pipeline: str) -> dict[str, Suggestion]:
    """Column -> suggestion, from the statistics of all batches; what is called an identifier is left alone.

    Raises:
        LakeError: There are no statistics yet.
    """
    name = f"{pipeline}.statistics"
    if not lake.exists(name):
        raise LakeError(f"The lake has no table {name} yet.", fix=f"Materialize {pipeline}/validated_data first.")
    statistics = lake.rows(f"SELECT * FROM {table(name)} ORDER BY batch")
    identifiers = {row["column_name"] for row in statistics if is_id_name(row["column_name"])}
    found = suggest_columns(statistics, identifiers)
    rows = f"{pipeline}.validated_data"
    if lake.exists(rows):
        names = lake.columns(table(rows))
        found = [holds(lake.con, table(rows), one) if one.name in names else one for one in found]
    return {one.name: one for one in found}
