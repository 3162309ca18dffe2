"""`ml-assets home`: prepare a project."""

from __future__ import annotations

from pathlib import Path

import click

from ml_assets.home import prepare_home
from ml_assets.lake.paths import Paths
from ml_assets.project import find_project
from ml_assets.scaffold.project import SCHEMA_FILE, write_schema


@click.command(short_help="Prepare Dagster's home and .env.")
def home() -> None:
    """Prepare Dagster's home: the folder, its dagster.yaml, and .env so that every command finds it."""
    click.echo(prepare_home(Paths.of(), lambda line: click.echo(line, err=True)))
    project = find_project(Path.cwd())
    if project and (project.defs / SCHEMA_FILE).exists():  # of the version that wrote it
        for file in write_schema(project.defs / SCHEMA_FILE):
            click.echo(f"wrote {file}", err=True)
