"""`ml-assets reject`: a version that waits for a person is refused for good."""

from __future__ import annotations

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import pipeline_argument, version_argument, why_option, writing
from ml_assets.lake.paths import Paths


@click.command(short_help="Refuse a version that waits for approval.")
@pipeline_argument
@version_argument()
@why_option
def reject(pipeline: str, version: str, why: str) -> None:
    """Refuse a version that waits for approval; training the same version again does not bring it back."""
    from ml_assets.graph.release.promotion import approvals

    with writing(pipeline) as lake:
        made = approvals.reject(lake, Paths.of(), pipeline, version, why)
    console.print(f"{pipeline} {made.version} is rejected; the champion stays {made.previous_champion or 'none'}")
