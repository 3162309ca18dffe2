"""`ml-assets explain`: why a row got its score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, limit_option, print_json
from ml_assets.cli.pipelines import pipeline_argument, reading, version_option
from ml_assets.escaping import as_written
from ml_assets.lake.paths import Paths


@click.command(short_help="Why a row got its score: features and their effects.")
@pipeline_argument
@click.argument("batch")
@click.argument("row")
@version_option("--version", "A version that scored the batch; default: the champion of that moment.")
@limit_option
@json_option
def explain(pipeline: str, batch: str, row: str, version: str | None, limit: int, as_json: bool) -> None:
    """Why a row of a batch got its score: the version, the decision, and the features that moved the score most.

    ROW is the row's number in the batch, or COLUMN=VALUE with commas between several, such as its key. Of a row in
    quarantine, the rules that it breaks are shown.
    """
    from ml_assets.row_explanation import explain_row

    with reading(pipeline) as lake:
        found = explain_row(lake, Paths.of(), pipeline, batch, row, version)
    if "features" in found:
        found["features"] = found["features"][:limit]
    if as_json:
        print_json(found)
    elif "quarantined_for" in found:
        console.print(f"{_row(found)} is in quarantine, so it has no score:")
        for reason in found["quarantined_for"]:
            console.print(f"  {reason}")
        console.print(f"Next  ml-assets quarantine show {pipeline} --batch {batch}")
    else:
        _show(found)


def _row(found: Mapping[str, Any]) -> str:
    return f"{found['pipeline']} {found['batch']}, row {found['row_id']}"


def _show(found: Mapping[str, Any]) -> None:
    from ml_assets.row_explanation import has_changed

    decision = f", decision {found['decision']}" if found["decision"] is not None else ""
    threshold = f" (threshold {found['threshold']:.4g})" if found["threshold"] is not None else ""
    console.print(f"{_row(found)}: score {found['score']:.4f}{decision}{threshold}")
    seen = "; it was trained or evaluated on this batch" if found["seen"] else ""
    console.print(f"by version {found['model_version']} ({found['role']}){seen}")
    if has_changed(found):
        console.print(
            f"Its features have changed since: now the score would be {found['score_now']:.4f}, explained here."
        )
    table = grid("feature", "value", "effect", "", numbers=("value", "effect"))
    for one in found["features"]:
        effect = one["effect"]
        direction = "raises the score" if effect > 0 else "lowers the score" if effect < 0 else ""
        table.add_row(one["feature"], _value(one["value"]), f"{effect:+.4f}", direction)
    console.print(table)
    console.print("Effect: the score minus what it would be with other values of that feature alone.")


def _value(value: object) -> str:
    return "missing" if value is None else f"{value:.4g}" if isinstance(value, float) else as_written(value)
