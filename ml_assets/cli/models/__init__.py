"""`ml-assets models ...`: the versions of a pipeline."""

from __future__ import annotations

import click

from ml_assets.cli.group import Group

SECTIONS = {"Look": ("list", "show", "diff", "champion"), "Act": ("promote", "rollback")}


@click.group(
    cls=Group,
    package=__name__,
    sections=SECTIONS,
    short_help="Versions: origin, scores, champion; promote, roll back.",
)
def models() -> None:
    """Model versions: what they came from, how good they are, which is the champion."""
