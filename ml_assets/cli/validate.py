"""`ml-assets validate`: are the pipelines of the project right, as far as that can be known without data?"""

from __future__ import annotations

import sys

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import json_option, print_json
from ml_assets.lake.paths import Paths


@click.command(short_help="Load every pipeline and print what is wrong with it.")
@json_option
def validate(as_json: bool) -> None:
    """Load every pipeline and print what is wrong with it: YAML, SQL, rules, estimators, parameters.

    Reads no data and starts nothing. Exits with 1 if a pipeline is broken.
    """
    from ml_assets import broken
    from ml_assets.graph.staleness.nodes import pipelines_of
    from ml_assets.loading import definitions

    with broken.checked_by_caller():
        defs = definitions(Paths.of().root)
    problems, notes = broken.problems_of(defs), broken.notes_of(defs)
    found = [{"pipeline": name, "ok": True, "text": notes.get(name, "")} for name in pipelines_of(defs)]
    found += [{"pipeline": name, "ok": False, "text": text} for name, text in problems.items()]
    if as_json:
        print_json(found)
    else:
        print_found(found)
    sys.exit(1 if problems else 0)


def print_found(found: list[dict[str, object]]) -> None:
    """A line for each pipeline, and below it what is wrong or could not be checked."""
    for one in found:
        note = f" (only a run can check: {one['text']})" if one["ok"] and one["text"] else ""
        console.print(f"{'ok    ' if one['ok'] else 'broken'} {one['pipeline']}{note}", markup=False)
        if not one["ok"]:
            console.print("    " + str(one["text"]).replace("\n", "\n    "), markup=False)
    if not found:
        console.print("The project has no pipelines.")
