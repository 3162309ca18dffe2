"""`ml-assets models list | show | diff | promote | rollback | champion`: the versions of a pipeline."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import click
from rich.table import Table

from ml_assets.cli.group import console, existing_lake
from ml_assets.errors import ModelError
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.models import describe, differences, overview
from ml_assets.tables import versions

as_json = click.option("--json", "as_json", is_flag=True, help="For machines.")
why_option = click.option("--why", required=True, help="The reason; it is kept with the decision.")


@click.group()
def models() -> None:
    """Model versions: what they came from, how good they are, which is the champion."""


@models.command("list")
@click.argument("pipeline")
@as_json
def list_(pipeline: str, as_json: bool) -> None:
    """Every version, newest first, with its scores, the decision about it, and who asked for it."""
    with Lake(Paths.of().lake, read_only=True) as lake:
        rows = overview(lake, pipeline)
    if as_json:
        _print_json(rows)
        return
    metrics = ", ".join(dict.fromkeys(row["metric"] for row in rows if row["metric"]))
    table = Table(title=f"{pipeline}: {metrics}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for title in ("version", "trained", "candidate", "validation", "test", "decision", "asked by"):
        wraps = title in ("decision", "asked by")
        table.add_column(title, no_wrap=not wraps, min_width=10 if wraps else None, overflow="fold")
    for row in rows:
        table.add_row(
            row["version"],
            f"{row['created_at']:%y-%m-%d}",
            row["candidate"],
            _number(row["validation_score"]),
            _scored(row["test_score"], row["low"], row["high"]),
            ", ".join([row["decision"] or "none", *(f"now {alias}" for alias in row["aliases"])]),
            row["triggered_by"] or "",
        )
    console.print(table)


@models.command()
@click.argument("pipeline")
@click.argument("version")
@as_json
def show(pipeline: str, version: str, as_json: bool) -> None:
    """Everything about a version: data, code, scores, gates, aliases, folders, how to read its training set."""
    paths = Paths.of()
    with Lake(paths.lake, read_only=True) as lake:
        found = describe(lake, paths, pipeline, version)
    if as_json:
        _print_json(found)
        return
    table = Table(title=f"{pipeline} {version}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in _facts(found).items():
        table.add_row(name, value)
    console.print(table)
    _print_rows("scores", [_score_row(row) for row in found["scores"]])
    newest = found["decisions"][-1] if found["decisions"] else {"gates": []}
    _print_rows("gates", [{**gate, "found": _number(gate["found"])} for gate in newest["gates"]])
    said = ("decided_at", "decision", "decided_by", "why")
    _print_rows("decisions", [{name: made[name] for name in said} for made in found["decisions"]])
    moved = ("moved_at", "alias", "moved_by")
    _print_rows("alias moves", [{name: event[name] for name in moved} for event in found["alias_events"]])


def _facts(found: Mapping[str, Any]) -> dict[str, str]:
    pin, release = found["training_set"], found["release"]
    facts = {
        "trained": f"{_time(found['created_at'])} UTC, requested by {found['triggered_by'] or 'unknown'}",
        "aliases": ", ".join(found["aliases"]) or "none",
        "candidate": f"{found['candidate']} ({found['estimator']})",
        "parameters": _value(found["params"]),
        "threshold": _number(found["threshold"]),
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


@models.command()
@click.argument("pipeline")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@as_json
def diff(pipeline: str, first: str, second: str, as_json: bool) -> None:
    """What differs between two versions: parameters, features, batches, scores, gates, code."""
    paths = Paths.of()
    with Lake(paths.lake, read_only=True) as lake:
        rows = differences(*(describe(lake, paths, pipeline, version) for version in (first, second)))
    if as_json:
        _print_json(rows)
        return
    if not rows:
        console.print(f"Nothing differs between {first} and {second}.")
        return
    table = Table("", "what")
    for version in (first, second):
        table.add_column(version, overflow="fold")
    section = None
    for row in rows:
        name = "" if row["section"] == section else row["section"]
        shown = _gate if row["section"] == "gates" else _value
        table.add_row(name, row["what"], shown(row["first"]), shown(row["second"]))
        section = row["section"]
    console.print(table)


@models.command()
@click.argument("pipeline")
@click.argument("version")
@why_option
def promote(pipeline: str, version: str, why: str) -> None:
    """Make a version the champion, whatever its gates said. Its bundle is verified first."""
    from ml_assets.graph.release.promotion import approvals

    paths = Paths.of()
    with existing_lake(paths) as lake:
        made = approvals.promote(lake, paths, pipeline, version, why)
    console.print(f"{pipeline} {made.version} is the champion; before: {made.previous_champion or 'none'}")


@models.command()
@click.argument("pipeline")
@click.option("--to", metavar="VERSION", help="By default the champion before this one.")
@why_option
def rollback(pipeline: str, to: str | None, why: str) -> None:
    """Make an earlier champion the champion again. The version that is left is not promoted by itself again."""
    from ml_assets.graph.release.promotion import approvals

    paths = Paths.of()
    with existing_lake(paths) as lake:
        versions.check_pipeline(lake, pipeline)
        made = approvals.rollback(lake, paths, pipeline, why, to)
    console.print(f"{pipeline} {made.version} is the champion again; taken back: {made.previous_champion}")


@models.command()
@click.argument("pipeline")
@click.option("--as-of", metavar="TIME", help="ISO time, UTC where it has no zone, such as 2013-11-01T12:00+01:00.")
@as_json
def champion(pipeline: str, as_of: str | None, as_json: bool) -> None:
    """Which version is the champion, or was at a time. Exit code 1 where there is none."""
    moment = _moment(as_of) if as_of else None
    with Lake(Paths.of().lake, read_only=True) as lake:
        versions.check_pipeline(lake, pipeline)
        model = versions.alias(lake, pipeline, "champion", moment)
    if model is None:
        was = f"There was no champion at {moment:%Y-%m-%d %H:%M:%S} UTC." if moment else "There is no champion yet."
        raise ModelError(
            was,
            where={"pipeline": pipeline},
            fix=f"`ml-assets models list {pipeline}` shows every version.",
        )
    if as_json:
        _print_json(model.__dict__)
    else:
        console.print(f"{model.version}")


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ModelError(
            "--as-of takes a time in ISO format, UTC where it has no zone.",
            found=text,
            fix="Write it such as 2013-11-01, 2013-11-01T12:00 or 2013-11-01T12:00+01:00.",
        ) from None
    return moment if moment.tzinfo is None else moment.astimezone(dt.UTC).replace(tzinfo=None)


def _score_row(row: Mapping[str, Any]) -> dict[str, Any]:
    score = _scored(row["value"], row["low"], row["high"])
    return {"scope": row["scope"], "metric": row["metric"], "value": score, "rows": f"{row['rows']:,}"}


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_value(value) for value in row.values()))
    console.print(table)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dt.datetime):
        return _time(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_value(inner) for inner in value)
    return "" if value is None else str(value)


def _gate(judged: Mapping[str, Any] | None) -> str:
    if judged is None:
        return "not judged"
    found = "" if judged["found"] is None else f": {_number(judged['found'])}"
    return f"{'passed' if judged['passed'] else 'failed'}{found}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _scored(value: float | None, low: float | None, high: float | None) -> str:
    return _number(value) + ("" if low is None or high is None else f" [{_number(low)}, {_number(high)}]")


def _time(value: dt.datetime | None) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M}"


def _print_json(value: object) -> None:
    """As JSON, which has no NaN."""
    plain = json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)
    click.echo(json.dumps(plain, indent=2))
