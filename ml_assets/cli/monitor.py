"""`ml-assets monitor`: the drift of all batches over time in Evidently's own pages, or its report of one batch."""

from __future__ import annotations

import socket

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import optional_pipeline
from ml_assets.lake.paths import Paths
from ml_assets.ui.guard import Guard, Origins


@click.command(short_help="Evidently's pages: drift over the batches.")
@optional_pipeline
@click.argument("batch", required=False)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8001,
    show_default=True,
    help="Port of Evidently's pages on 127.0.0.1.",
)
def monitor(pipeline: str | None, batch: str | None, port: int) -> None:
    """Evidently's pages of all batches; with PIPELINE and BATCH, write Evidently's own report of that batch to a file.

    A project is a pipeline, a run is a batch; drift over the batches is a plot. Days of real-time use are a project of
    their own, and a BATCH such as "online 2026-11-20".
    """
    if pipeline is not None:
        _write(pipeline, batch)
        return
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


def _write(pipeline: str, batch: str | None) -> None:
    """Evidently's report of a batch, beside ours."""
    from ml_assets.errors import LakeError, did_you_mean
    from ml_assets.graph.monitoring import history
    from ml_assets.reporting import drift_report

    paths = Paths.of()
    project = history.project_name(pipeline, batch or "")
    kept = sorted(history.moments(history.project_folder(paths.evidently, project)))
    saved = history.saved(paths.evidently, pipeline, batch) if batch in kept else None
    if batch is None or saved is None:
        raise LakeError(
            "Evidently has no run of this batch." if batch else "Name a batch, too.",
            found=batch,
            where={"pipeline": pipeline},
            fix=did_you_mean(batch or "", kept) if kept else f"Materialize {pipeline}/drift_report for it.",
        )
    name = f"{pipeline}/drift/{batch.replace(' ', '-')}.evidently.html"
    with paths.artifacts.reports.put(name) as file:
        drift_report.write_evidently(saved, file)
    console.print(f"written: {paths.artifacts.reports.link(name)}")
