"""`ml-assets quarantine show | retry`: rows that break a rule, and taking in those that break none any more."""

from __future__ import annotations

import click

from ml_assets.cli.group import Group


@click.group(cls=Group, package=__name__, sections={"Commands": ("show", "retry")})
def quarantine() -> None:
    """Rows that break a rule."""
