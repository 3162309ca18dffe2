"""`ml-assets quarantine retry`: take in rows that break no rule any more."""

from __future__ import annotations

import sys

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.cli.quarantine.held import batch_option, held_batches, print_rows
from ml_assets.dagster_commands import materialize
from ml_assets.lake.paths import Paths
from ml_assets.tables.data import FEATURES, QUARANTINE, VALIDATED_DATA, lookups


@click.command(short_help="Validate the batches again under today's rules.")
@pipeline_argument
@batch_option
def retry(pipeline: str, batches: tuple[str, ...]) -> None:
    """Check the batches again under today's rules; rows that break none go on to the features.

    Exits with 1 if a batch is refused.
    """
    with reading(pipeline) as lake:
        held = held_batches(lake, pipeline, batches)
        before = {batch: lake.count(QUARANTINE.of(pipeline), batch) for batch in held}
        made = lookups(lake, pipeline)
    if not held:
        console.print(f"The quarantine of {pipeline} is empty.")
        return
    names = [VALIDATED_DATA.name, QUARANTINE.name, *made, FEATURES.name]
    select = ",".join(f'key:"{pipeline}/{name}"' for name in names)
    ok = True
    for batch in held:
        ok &= materialize(Paths.of(), console, ["--select", select, "--partition", batch], log_name="quarantine")
    with reading() as lake:
        after = {batch: lake.count(QUARANTINE.of(pipeline), batch) for batch in held}
    print_rows(
        f"{pipeline}: quarantined rows",
        [{"batch": batch, "before": before[batch], "now": after[batch]} for batch in held],
    )
    sys.exit(0 if ok else 1)
