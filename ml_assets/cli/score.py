"""`ml-assets score`: batches scored again, by any version."""

from __future__ import annotations

import json
import sys

import click
from rich.table import Table

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import pipeline_argument, reading, version_option
from ml_assets.errors import BatchRefused, did_you_mean
from ml_assets.lake.paths import Paths
from ml_assets.materialize import materialize
from ml_assets.tables import predictions, versions
from ml_assets.tables.data import FEATURES
from ml_assets.tables.performance import PERFORMANCE
from ml_assets.tables.predictions import PREDICTIONS


@click.command()
@pipeline_argument
@click.argument("batches", nargs=-1, required=True, metavar="BATCH...")
@version_option("--version", "Score with this version and keep the rows of all others; default: the champion.")
def score(pipeline: str, batches: tuple[str, ...], version: str | None) -> None:
    """Score batches again. Rows of another version than the champion are kept beside its predictions, as `rescored`."""
    with reading(pipeline) as lake:
        versions.check_pipeline(lake, pipeline)
        if version:
            versions.need_version(lake, pipeline, version)
        known = lake.batches(FEATURES.of(pipeline))
    for batch in batches:
        if batch not in known:
            raise BatchRefused(f"{pipeline} has no features of a batch {batch!r}.", fix=did_you_mean(batch, known))
    config = {"ops": {f"{pipeline}__predictions": {"config": {"version": version}}}}
    keys = ",".join(f'key:"{table.asset(pipeline)}"' for table in (PREDICTIONS, PERFORMANCE))
    arguments = ["--select", keys, "--config-json", json.dumps(config)]
    done = [materialize(Paths.of(), console, [*arguments, "--partition", batch], log_name="score") for batch in batches]
    with reading() as lake:
        found = predictions.means(lake, pipeline, batches)
    shown = Table(
        "batch", "version", "role", "rows", "mean score", title=f"{pipeline}: predictions", title_justify="left"
    )
    for row in found:
        shown.add_row(row["batch"], row["model_version"], row["role"], f"{row['rows']:,}", f"{row['mean']:.4g}")
    console.print(shown)
    sys.exit(0 if all(done) else 1)
