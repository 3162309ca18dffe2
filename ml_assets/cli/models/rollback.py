"""`ml-assets models rollback`: an earlier champion is the champion again."""

from __future__ import annotations

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import pipeline_argument, version_option, why_option, writing
from ml_assets.lake.paths import Paths
from ml_assets.tables import versions


@click.command()
@pipeline_argument
@version_option("--to", "By default the champion before this one.")
@why_option
def rollback(pipeline: str, to: str | None, why: str) -> None:
    """Make an earlier champion the champion again. The version that it replaces is not promoted automatically again."""
    from ml_assets.graph.release.promotion import approvals

    with writing(pipeline) as lake:
        versions.check_pipeline(lake, pipeline)
        made = approvals.rollback(lake, Paths.of(), pipeline, why, to)
    console.print(f"{pipeline} {made.version} is the champion again; taken back: {made.previous_champion}")
