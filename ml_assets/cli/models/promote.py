"""`ml-assets models promote`: a version becomes the champion by hand."""

from __future__ import annotations

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import pipeline_argument, version_argument, why_option, writing
from ml_assets.lake.paths import Paths


@click.command()
@pipeline_argument
@version_argument()
@why_option
def promote(pipeline: str, version: str, why: str) -> None:
    """Make a version the champion, whatever its gates decided. Its bundle is verified first."""
    from ml_assets.graph.release.promotion import approvals

    with writing(pipeline) as lake:
        made = approvals.promote(lake, Paths.of(), pipeline, version, why)
    console.print(f"{pipeline} {made.version} is the champion; before: {made.previous_champion or 'none'}")
