"""`ml-assets models show`: everything about one version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, print_json
from ml_assets.cli.models.values import minute, number, scored, shown_value
from ml_assets.cli.pipelines import pipeline_argument, reading, version_argument
from ml_assets.lake.paths import Paths
from ml_assets.version_overview import describe


@click.command(short_help="Everything about a version.")
@pipeline_argument
@version_argument()
@json_option
def show(pipeline: str, version: str, as_json: bool) -> None:
    """Everything about a version: data, code, scores, gates, aliases, folders, how to read its training set."""
    with reading(pipeline) as lake:
        found = describe(lake, Paths.of(), pipeline, version)
    if as_json:
        print_json(found)
        return
    table = grid("what", "value", title=f"{pipeline} {version}", header=False)
    for name, value in _facts(found).items():
        table.add_row(name, value)
    console.print(table)
    _print_rows("scores", [_score_row(row) for row in found["scores"]])
    newest = found["decisions"][-1] if found["decisions"] else {"gates": []}
    _print_rows("gates", [{**gate, "found": number(gate["found"])} for gate in newest["gates"]])
    said = ("decided_at", "decision", "decided_by", "why")
    _print_rows("decisions", [{name: made[name] for name in said} for made in found["decisions"]])
    moved = ("moved_at", "alias", "moved_by")
    _print_rows("alias moves", [{name: event[name] for name in moved} for event in found["alias_events"]])


def _facts(found: Mapping[str, Any]) -> dict[str, str]:
    pin, release = found["training_set"], found["release"]
    facts = {
        "trained": f"{minute(found['created_at'])} UTC, triggered by {found['triggered_by'] or 'unknown'}",
        "aliases": ", ".join(found["aliases"]) or "none",
        "candidate": f"{found['candidate']} ({found['estimator']})",
        "parameters": shown_value(found["params"]),
        "threshold": number(found["threshold"]),
        "features": ", ".join(f"{name} ({kind})" for name, kind in pin["features"].items()),
        "target": pin["target"],
        **{f"{part} rows": _part(pin, part) for part in pin["rows"]},
        "pin, snapshot": f"{found['pin_id']}, {found['snapshot_id']}",
        "git commit": found["git_commit"] or "unknown",
        "code version": found["code_version"],
        "run": found["run_id"],
        "bundle": found["bundle"],
        "release": "none",
        "read it": found["read_training_set"],
    }
    if release is not None:
        if release.get("serves_why"):
            facts["serves"] = f"{release['serves']}, fitted on {release['fitted_rows']:,} rows: {release['serves_why']}"
        facts["release"] = f"{release['folder']} ({release['engine']}"
        facts["release"] += (
            f", p95 {release['p95_ms']:.3g} ms, {release['rss_mib']:.0f} MiB)"
            if release["started"] and release["p95_ms"]
            else ")"
        )
        facts["release sha256"] = release["sha256"]
    return facts


def _part(pin: Mapping[str, Any], part: str) -> str:
    return f"{pin['rows'][part]:,} of {', '.join(pin['batches'][part])}"


def _score_row(row: Mapping[str, Any]) -> dict[str, Any]:
    score = scored(row["value"], row["low"], row["high"])
    return {"scope": row["scope"], "metric": row["metric"], "value": score, "rows": f"{row['rows']:,}"}


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = grid(*rows[0], title=title)
    for row in rows:
        table.add_row(*(shown_value(value) for value in row.values()))
    console.print(table)
