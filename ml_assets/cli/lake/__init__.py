"""`ml-assets lake ...`: the lake's history and its maintenance."""

from __future__ import annotations

import click

from ml_assets.cli.group import Group

SECTIONS = {"Look": ("snapshots", "diff"), "Act": ("restore", "recover", "maintenance")}


@click.group(cls=Group, package=__name__, sections=SECTIONS)
def lake() -> None:
    """History and maintenance of the lake."""
