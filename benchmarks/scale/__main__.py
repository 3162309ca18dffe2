"""The commands: `python -m benchmarks.scale rows`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.cost import setting
from benchmarks.scale import batches as many_batches
from benchmarks.scale import model, project, rows
from benchmarks.scale import pipelines as many_pipelines

KEEP = click.option("--save", type=click.Path(path_type=Path), help="Keep the figures in this JSON file.")


@click.group()
def main() -> None:
    """Measure how far one machine goes."""
    os.environ.pop("ML_ASSETS_DATA", None)
    for name, text in setting("scale", project.LIBRARIES).items():
        print(f"{name:9} {text}", flush=True)


@main.command("rows")
@click.option("--rows", "many", default=100_000_000, show_default=True)
@click.option("--batches", default=100, show_default=True)
@click.option("--watched", default=5, show_default=True, help="Newest batches that get reports.")
@click.option("--max-rows", type=int, help="Of the training set; by default as many as memory takes.")
@click.option("--memory", default="2GiB", show_default=True, help="DuckDB's memory limit.")
@click.option("--folder", type=click.Path(path_type=Path), help="Work here, and go on where a run was stopped.")
@KEEP
def of_rows(
    many: int, batches: int, watched: int, max_rows: int | None, memory: str, folder: Path | None, save: Path | None
) -> None:
    """Every step over many rows."""
    with contextlib.nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="scale-") as work:
        found = rows.measure(Path(work), many, batches, watched, memory, training={"max_rows": max_rows})
    if save:
        project.save(save, "rows", found)
    sys.exit(0 if rows.report(found) else 1)


@main.command("batches")
@click.option("--sizes", type=int, multiple=True, default=(100, 1000, 10_000), show_default=True)
@KEEP
def of_batches(sizes: tuple[int, ...], save: Path | None) -> None:
    """What a new batch costs, by how many there are."""
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        found = many_batches.measure(Path(temporary), sizes)
    if save:
        project.save(save, "batches", found)
    sys.exit(0 if many_batches.report(found) else 1)


@main.command("pipelines")
@click.option("--pipelines", default=100, show_default=True)
@click.option("--batches", default=10, show_default=True, help="Of each pipeline.")
@KEEP
def of_pipelines(pipelines: int, batches: int, save: Path | None) -> None:
    """Definitions and sensors, by how many pipelines there are."""
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        found = many_pipelines.measure(Path(temporary), pipelines, batches)
    if save:
        project.save(save, "pipelines", found)
    sys.exit(0 if many_pipelines.report(found) else 1)


@main.command("model")
@click.argument("files", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True)
@click.option("--rows", "many", default=1_000_000_000, show_default=True)
def of_model(files: tuple[Path, ...], many: int) -> None:
    """What files that `rows --save` has written say of other sizes."""
    model.report(model.fits(json.loads(file.read_text())["rows"] for file in files), many)


if __name__ == "__main__":
    main()
