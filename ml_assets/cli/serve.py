"""`ml-assets serve`: the champion's release over HTTP, as its alias moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ml_assets.cli.pipelines import pipeline_argument, reading, version_option
from ml_assets.lake.paths import Paths

if TYPE_CHECKING:
    from starlette.applications import Starlette


@click.command()
@pipeline_argument
@version_option("--version", "Serve this version for good; by default the champion is followed.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
def serve(pipeline: str, version: str | None, port: int, host: str) -> None:
    """Score rows over HTTP (POST /predict, GET /health, /schema). A new champion takes over by itself."""
    from ml_assets.server.process import run

    paths = Paths.of()
    with reading(pipeline):
        pass  # a misspelled name ends here

    def load() -> tuple[Starlette, str]:
        from ml_assets.server.app import Serving, app
        from ml_assets.server.follow import Follower, find_release
        from ml_assets.server.scorer import Scorer

        place = find_release(paths, pipeline, version)
        serving = Serving(Scorer(place.folder, place.sha256))
        lifespan = None if version else Follower(paths, pipeline, serving).lifespan
        return app(serving, lifespan), f"{pipeline} {place.version}"

    run(load, host, port)
