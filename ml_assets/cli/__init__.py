"""`ml-assets`: what Dagster's own commands do not do. A module or folder has the name of its command.

Beside them: group.py (the console and how commands are found), pipelines.py (the argument PIPELINE and the lake that it
is in), listing.py (--limit and --json).
"""

from __future__ import annotations

import click

from ml_assets.cli.group import Group

SECTIONS = {
    "Start": ("init", "suggest", "validate", "home", "demo", "ui"),
    "Run": ("run", "ingest", "train", "score", "serve", "key", "replay"),
    "Show": ("list", "open", "explain", "summary", "status", "models", "trials", "experiment", "retraining"),
    "Watch": ("doctor", "alerts", "quarantine", "monitor", "lake"),
    "Decide": ("approve", "reject"),
}


@click.group(cls=Group, package=__name__, sections=SECTIONS)
@click.version_option(package_name="ml-assets")
def main() -> None:
    """Machine-learning pipelines as Dagster assets on a DuckDB lake."""
