"""`ml-assets lake ...`: the lake's history, its maintenance, and what keeps it."""

from __future__ import annotations

import click

from ml_assets.cli.group import Group

SECTIONS = {
    "Look": ("snapshots", "diff", "check"),
    "Act": ("restore", "maintenance"),
    "Keep": ("backup", "recover", "move"),
}


@click.group(cls=Group, package=__name__, sections=SECTIONS)
def lake() -> None:
    """History, maintenance and backups of the lake."""
