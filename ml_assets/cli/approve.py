"""`ml-assets approve`: a version that waits for a person becomes the champion."""

from __future__ import annotations

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import pipeline_argument, version_argument, why_option, writing
from ml_assets.lake.paths import Paths


@click.command(short_help="Promote a version that waits for approval.")
@pipeline_argument
@version_argument()
@why_option
def approve(pipeline: str, version: str, why: str) -> None:
    """Promote a version that passed its gates and waits for approval (gates.approval: manual)."""
    from ml_assets.graph.release.promotion import approvals

    with writing(pipeline) as lake:
        made = approvals.approve(lake, Paths.of(), pipeline, version, why)
    console.print(f"{pipeline} {made.version} is the champion; before: {made.previous_champion or 'none'}")
