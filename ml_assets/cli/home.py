"""`ml-assets home`: prepare a project."""

from __future__ import annotations

import click

from ml_assets.home import prepare_home
from ml_assets.store.paths import Paths


@click.command()
def home() -> None:
    """Prepare Dagster's home: the folder, its dagster.yaml, and .env so that every command finds it."""
    click.echo(prepare_home(Paths.of(), lambda line: click.echo(line, err=True)))
