"""What came of a run, in a few lines: of an ingest, a training, scores; and how it ends on Ctrl-C."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid
from ml_assets.cli.pipelines import reading
from ml_assets.lake.lake import Lake
from ml_assets.tables import arrivals, drift, performance, predictions
from ml_assets.tables.data import QUARANTINE, VALIDATED_DATA
from ml_assets.tables.decisions import newest_of
from ml_assets.version_overview import overview

if TYPE_CHECKING:
    from ml_assets.run_pipeline import PipelineRunner

batches_argument = click.argument("batches", nargs=-1, metavar="[BATCH]...")
CTRL_C = 130  # what a shell gives a command that Ctrl-C has ended


@contextlib.contextmanager
def can_be_continued() -> Iterator[None]:
    """Ctrl-C ends the command without a traceback, and it says how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\nStopped. What is finished is kept; the same command again does the rest.", err=True)
        sys.exit(CTRL_C)


def say_next(*steps: str) -> None:
    """Name the next steps, a line for each."""
    for number, step in enumerate(steps):
        console.print(Text("Next  " if number == 0 else "      ", "bold"), step, sep="")


def ingest_due(runner: PipelineRunner, named: Sequence[str]) -> tuple[list[str], bool]:
    """Ingest these batches, by default those that are due, and print what came of it; which, and have all succeeded?

    Ends the command where the files cannot be listed.
    """
    if not runner.register():
        sys.exit(1)
    due = runner.arrived(named) if named else runner.to_ingest()
    ok = runner.ingest(due)
    with reading(runner.pipeline) as lake:
        return due, _print_ingested(lake, runner, due) and ok


def _print_ingested(lake: Lake, runner: PipelineRunner, batches: Sequence[str]) -> bool:
    """Rows of the batches, those that failed, files that are not accepted. True where no batch failed."""
    pipeline = runner.pipeline
    for file in arrivals.of_status(lake, pipeline, *arrivals.REJECTED):
        console.print(Text("rejected " if file.status == "refused" else "skipped  ", "yellow"), _why(file), sep="")
    failed = {batch: text for batch, text in runner.failed().items() if batch in batches}
    for batch, text in failed.items():
        console.print(Text("failed   ", "red"), f"batch {batch}: {text}", sep="")
    made = [batch for batch in batches if batch not in failed]
    if made:
        rows, held = (sum(lake.count(table.of(pipeline), batch) for batch in made) for table in STORED)
        span = made[0] if len(made) == 1 else f"{len(made)} batches, {made[0]} to {made[-1]}"
        console.print(f"ingested {span}: {rows:,} valid rows, {held:,} in quarantine")
    elif not batches:
        console.print(f"ingested nothing: every batch of {pipeline} is up to date")
    return not failed


STORED = (VALIDATED_DATA, QUARANTINE)


def _why(file: arrivals.Arrival) -> str:
    return f"{file.path.rpartition('/')[2]}: {str(file.error).splitlines()[0]}"


def print_trained(lake: Lake, pipeline: str) -> None:
    """The newest version, its test score, the decision about it, and what to do then."""
    newest = overview(lake, pipeline)[0]
    version, made = newest["version"], newest_of(lake, pipeline, newest["version"])
    decision = made.decision if made else "not decided"
    console.print(f"trained  version {version}: {decision}{_test_score(newest)}")
    if made:
        console.print(f"         {made.why}")
    if decision == "pending":
        say_next(f"ml-assets approve {pipeline} {version} --why TEXT   (or reject)")
    elif decision != "promoted":
        say_next(f"ml-assets models show {pipeline} {version}   (its gates)")


def _test_score(row: dict[str, Any]) -> str:
    if row["test_score"] is None:
        return ""
    between = "" if row["low"] is None else f" (95% CI {row['low']:.4f} to {row['high']:.4f})"
    return f", test {row['metric']} {row['test_score']:.4f}{between}"


def print_scored(lake: Lake, pipeline: str, batches: Sequence[str]) -> None:
    """Who scored each batch, with drift and live score where they are measured."""
    drifted = {
        row["batch"]: {True: "yes", False: "no", None: "?"}[row["drifted"]] for row in drift.verdicts(lake, pipeline)
    }
    live = {row["batch"]: row for row in performance.verdicts(lake, pipeline)}
    columns = ("batch", "version", "role", "rows", "mean score", "drift", "live score")
    shown = grid(*columns, title=f"{pipeline}: predictions", numbers=("rows", "mean score"))
    for row in predictions.means(lake, pipeline, batches):
        is_judged = live.get(row["batch"], {}).get("model_version") == row["model_version"]
        shown.add_row(
            row["batch"],
            row["model_version"],
            row["role"],
            f"{row['rows']:,}",
            f"{row['mean']:.4g}",
            drifted.get(row["batch"], "") if row["role"] == "champion" else "",
            _live(live[row["batch"]]) if is_judged else "",
        )
    console.print(shown)


def _live(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "not defined"
    return f"{row['metric']} {row['value']:.4f}" + (" decayed" if row["decayed"] else "")
