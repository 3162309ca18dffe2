"""`ml-assets summary`: what is in the lake, how good the champion is, what needs attention."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click
from rich.text import Text

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, print_json
from ml_assets.cli.pipelines import optional_pipeline, reading
from ml_assets.escaping import visible
from ml_assets.pipeline_summary import Summary, summarize
from ml_assets.tables import pipelines


@click.command(short_help="What is in the lake, and what needs attention.")
@optional_pipeline
@json_option
def summary(pipeline: str | None, as_json: bool) -> None:
    """What is in the lake, how good the champion is, what needs attention. Exits with 1 if anything does."""
    with reading(pipeline) as lake:
        found = [summarize(lake, name) for name in ([pipeline] if pipeline else pipelines.names(lake))]
    if as_json:
        print_json(found)
    else:
        for one in found:
            print_summary(one)
    sys.exit(1 if any(one.problems for one in found) else 0)


def print_summary(found: Summary) -> None:
    """A summary as tables in the terminal."""
    without = len(set(found.seen) - set(found.batches))
    title = f"{found.pipeline}: {len(found.seen)} batches" + (f", {without} without validated rows" if without else "")
    table = grid("what", "value", title=title, header=False)
    for asset_name, rows in found.rows.items():
        table.add_row(asset_name, f"{rows:,} rows")
    reasons = ", ".join(f"{row['reason']} ({row['rows']:,})" for row in found.quarantine[:5])
    table.add_row("quarantined for", reasons or "nothing")
    for row in found.candidates:
        scores = (
            f"{row['metric']} {row['validation_score']:.4f} on validation, {row['cv_score']:.4f} in cross-validation"
        )
        table.add_row(f"candidate {row['candidate']}", f"{scores} ({row['trials']} trials, {row['seconds']:.0f} s)")
    table.add_row("champion", _champion_line(found))
    if found.live is not None:
        table.add_row("live score", _live_line(found.live))
    if found.newest is not None:
        table.add_row("newest version", f"{found.newest.version} {found.newest.decision}: {found.newest.why}")
    drifted = [row for row in found.drift if row["drifted"]]
    listed = ", ".join(f"{row['batch']} ({row['drifted_columns']} columns)" for row in drifted)
    table.add_row("drifted batches", f"{len(drifted)} of {len(found.drift)} watched{': ' + listed if listed else ''}")
    console.print(table)
    problems = grid("level", "text", header=False)
    for problem in found.problems:
        problems.add_row(Text("problem", "red"), problem)
    console.print(problems)


def _champion_line(found: Summary) -> str:
    if found.champion is None:
        return "none yet"
    line = f"version {found.champion.version} ({found.champion.candidate})"
    if found.test is not None:
        test = found.test
        between = "" if test["low"] is None else f" [{test['low']:.4f}, {test['high']:.4f}]"
        line += f", {test['metric']} {test['value']:.4f}{between} on {test['rows']:,} unseen rows"
    return line


def _live_line(live: Mapping[str, Any]) -> Text:
    verdict = {True: Text("decayed", "red"), False: Text("holds"), None: Text("no verdict")}[live["decayed"]]
    value = "not defined" if live["value"] is None else f"{live['value']:.4f}"
    between = "" if live["low"] is None else f" [{live['low']:.4f}, {live['high']:.4f}]"
    beside = "no test score" if live["test_score"] is None else f"test score {live['test_score']:.4f}"
    line = f"{live['metric']} {value}{between} on {live['rows']:,} rows of batch {live['batch']}; {beside}: "
    return Text.assemble(visible(line), verdict)
