"""`ml-assets init`: from files to a pipeline."""

from __future__ import annotations

from pathlib import Path

import click

from ml_assets.cli.group import console
from ml_assets.home import prepare_home
from ml_assets.lake.paths import Paths
from ml_assets.project import YAML_FILE, Project
from ml_assets.scaffold import project as projects
from ml_assets.scaffold.draft import Draft, draft
from ml_assets.scaffold.render import decisions


@click.command(short_help="Write a pipeline that runs as it is, inferred from files.")
@click.argument("name")
@click.option("--source", required=True, help="Folder of files, one file, or a glob: parquet, csv, jsonl (.gz, .zst).")
@click.option("--target", required=True, help="Column to predict.")
@click.option("--into", default=".", help="Folder of the project; where there is none, a new one is made.")
def init(name: str, source: str, target: str, into: str) -> None:
    """Write a pipeline that runs as it is, inferred from files; in an empty folder with a project around it."""
    project, exists = projects.project_for(Path(into).expanduser())
    folder = project.defs / name
    projects.refuse_existing(folder)
    made = draft(name, source, target, project.root, Path.cwd(), lambda text: console.print(text, markup=False))
    written = [] if exists else projects.write_project(project)
    written += projects.write_pipeline(made, folder)
    if not exists:
        prepare_home(Paths.of(project.root))
    for file in written:
        console.print(f"wrote {file.relative_to(project.root)}", markup=False)
    console.print("\nWhat you should decide:")
    for line in decisions(made):
        console.print(f"- {line}", markup=False)
    if made.target.is_open:
        console.print(f"\nFirst write target.sql, in {projects.place_of_target(folder / YAML_FILE)}.", markup=False)
    console.print("\nRun it:")
    for line in commands(made, project):
        console.print(f"  {line}", markup=False)


def commands(made: Draft, project: Project) -> list[str]:
    """What to run next: read the files, train a champion on all of them, show the result."""
    into = [] if project.root == Path.cwd().resolve() else [f"cd {project.root}"]
    return [*into, *(f"ml-assets {step} {made.name}" for step in ("ingest", "train", "summary"))]
