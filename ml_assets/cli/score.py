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
from ml_assets.lake.sql import table
from ml_assets.runs import materialize
from ml_assets.tables import versions


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
        known = lake.batches(f"{pipeline}.features")
    for batch in batches:
        if batch not in known:
            raise BatchRefused(f"{pipeline} has no features of a batch {batch!r}.", fix=did_you_mean(batch, known))
    config = {"ops": {f"{pipeline}__predictions": {"config": {"version": version}}}}
    keys = ",".join(f'key:"{pipeline}/{asset_name}"' for asset_name in ("predictions", "performance_report"))
    arguments = ["--select", keys, "--config-json", json.dumps(config)]
    done = [materialize(Paths.of(), console, [*arguments, "--partition", batch], log_name="score") for batch in batches]
    with reading() as lake:
        found = lake.rows(
            f"""SELECT batch, model_version, role, count(*) AS rows, avg(score) AS mean
            FROM {table(f"{pipeline}.predictions")} WHERE batch IN (SELECT unnest(?)) GROUP BY ALL ORDER BY ALL""",
            [list(batches)],
        )
    shown = Table(
        "batch", "version", "role", "rows", "mean score", title=f"{pipeline}: predictions", title_justify="left"
    )
    for row in found:
        shown.add_row(row["batch"], row["model_version"], row["role"], f"{row['rows']:,}", f"{row['mean']:.4g}")
    console.print(shown)
    sys.exit(0 if all(done) else 1)
