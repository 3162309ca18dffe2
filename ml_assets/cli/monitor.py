"""`ml-assets monitor`: the drift of all batches over time, in Evidently's own pages."""

from __future__ import annotations

import socket

import click

from ml_assets.cli.group import console
from ml_assets.lake.paths import Paths
from ml_assets.ui.guard import Guard, Origins


@click.command(short_help="Evidently's pages: drift over the batches.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8001,
    show_default=True,
    help="Port of Evidently's pages on 127.0.0.1.",
)
def monitor(port: int) -> None:
    """Evidently's pages: a project for each pipeline, a run for each batch, drift over the batches as a plot."""
    workspace = Paths.of().evidently
    if not any(workspace.glob("*/metadata.json")):
        raise click.ClickException("There is no drift report yet; the first batch after a champion makes one.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise click.ClickException(f"Port {port} is taken ({error}); choose another --port.") from error
    import uvicorn
    from evidently.ui.service.app import create_app, get_config

    console.print(f"Evidently http://127.0.0.1:{port}   end with Ctrl-C")
    app = create_app(get_config(host="127.0.0.1", port=port, workspace=str(workspace)))
    uvicorn.run(Guard(app, Origins.of(port)), host="127.0.0.1", port=port)
