"""`ml-assets models diff`: two versions compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, print_json
from ml_assets.cli.models.values import number, shown_value
from ml_assets.cli.pipelines import pipeline_argument, reading, version_argument
from ml_assets.lake.paths import Paths
from ml_assets.version_overview import describe, differences


@click.command(short_help="What differs between two versions.")
@pipeline_argument
@version_argument("first", "A")
@version_argument("second", "B")
@json_option
def diff(pipeline: str, first: str, second: str, as_json: bool) -> None:
    """What differs between two versions: parameters, features, batches, scores, gates, code."""
    paths = Paths.of()
    with reading(pipeline) as lake:
        rows = differences(*(describe(lake, paths, pipeline, version) for version in (first, second)))
    if as_json:
        print_json(rows)
        return
    if not rows:
        console.print(f"Nothing differs between {first} and {second}.")
        return
    table = grid("", "what", first, second)
    section = None
    for row in rows:
        name = "" if row["section"] == section else row["section"]
        shown = _gate if row["section"] == "gates" else shown_value
        table.add_row(name, row["what"], shown(row["first"]), shown(row["second"]))
        section = row["section"]
    console.print(table)


def _gate(judged: Mapping[str, Any] | None) -> str:
    if judged is None:
        return "not judged"
    found = "" if judged["found"] is None else f": {number(judged['found'])}"
    return f"{'passed' if judged['passed'] else 'failed'}{found}"
