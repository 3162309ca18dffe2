"""`ml-assets quarantine show`: look at rows that break a rule."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import json_option, limit_option, print_json
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.cli.quarantine.held import batch_option, held_batches, print_rows
from ml_assets.errors import MLAssetsError, did_you_mean
from ml_assets.project import declared, project_at
from ml_assets.tables.data import broken_rules, quarantined


@click.command(short_help="How often each rule is broken, and the rows.")
@pipeline_argument
@batch_option
@click.option("--rule", help="Only rows that break this rule, such as distance.min.")
@limit_option
@json_option
def show(pipeline: str, batches: tuple[str, ...], rule: str | None, limit: int, as_json: bool) -> None:
    """How often each rule is broken, and the rows with the values in question."""
    with reading(pipeline) as lake:
        chosen = held_batches(lake, pipeline, batches)
        counts = broken_rules(lake, pipeline, chosen)
        names = [row["rule"] for row in counts]
        if rule is not None and rule not in names:
            raise MLAssetsError(f"No quarantined row breaks the rule {rule!r}; {did_you_mean(rule, names)}")
        rows = quarantined(lake, pipeline, chosen, rule, _columns_of(pipeline, [rule] if rule else names), limit)
    if as_json:
        print_json({"rules": counts, "rows": rows})
        return
    if not rows:
        console.print(f"The quarantine of {pipeline} is empty.")
        return
    print_rows(f"{pipeline}: rules that quarantined rows break", counts)
    print_rows(f"{pipeline}: {'the first ' if len(rows) == limit else ''}{len(rows)} rows", rows)


def _columns_of(pipeline: str, rules: list[str]) -> set[str]:
    """Columns that rules read: a rule of a column names it, one of the YAML's `rules` has it in its SQL."""
    try:
        texts = declared(project_at(Path.cwd()), pipeline).get("rules") or {}
    except MLAssetsError:  # the lake can be read without the project
        texts = {}
    words = {name.removeprefix("type of ").partition(".")[0] for name in rules}
    return words | {word for name in rules for word in re.findall(r"\w+", texts.get(name, ""))}
