"""`ml-assets suggest`: from statistics to constraints."""

from __future__ import annotations

from pathlib import Path

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import json_option, print_json
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.errors import LakeError
from ml_assets.lake.lake import Lake
from ml_assets.project import declared, project_at
from ml_assets.scaffold.evidence import is_id_name
from ml_assets.scaffold.render import column_line
from ml_assets.scaffold.suggest import Suggestion, holds, suggest_columns
from ml_assets.tables.data import VALIDATED_DATA
from ml_assets.tables.statistics import STATISTICS, read

CONSTRAINTS = ("min", "max", "allowed", "regex")


@click.command(short_help="Suggest constraints for columns that have none.")
@pipeline_argument
@json_option
def suggest(pipeline: str, as_json: bool) -> None:
    """Lines of YAML for declared columns without constraints, from the statistics of all batches."""
    columns = declared(project_at(Path.cwd()), pipeline).get("columns") or []
    with reading() as lake:
        suggestions = suggestions_of(lake, pipeline)
    found = []
    for column in columns:
        one = suggestions.get(column["name"])
        if one is None or any(key in column for key in CONSTRAINTS):
            continue
        more = {key: value for key, value in one.keys().items() if key in CONSTRAINTS}
        if more:
            found.append((one, {**column, **more}))
    if as_json:
        print_json([keys for _, keys in found])
        return
    for one, keys in found:
        console.print(f"    {column_line(one, keys=keys)}", markup=False)
    if not found:
        console.print("Every column that could have a constraint has one.")


def suggestions_of(lake: Lake, pipeline: str) -> dict[str, Suggestion]:
    """Column -> suggestion, from the statistics of all batches; identifiers, as their names say, are skipped.

    Raises:
        LakeError: There are no statistics yet.
    """
    if not lake.exists(STATISTICS.of(pipeline)):
        fix = f"Materialize {VALIDATED_DATA.asset(pipeline)} first."
        raise LakeError(f"The lake has no table {STATISTICS.of(pipeline)} yet.", fix=fix)
    statistics = read(lake, pipeline)
    identifiers = {row["column_name"] for row in statistics if is_id_name(row["column_name"])}
    found = suggest_columns(statistics, identifiers)
    rows = VALIDATED_DATA.relation(lake, pipeline)
    if rows is not None:
        names = lake.columns(rows)
        found = [holds(lake.con, rows, one) if one.name in names else one for one in found]
    return {one.name: one for one in found}
