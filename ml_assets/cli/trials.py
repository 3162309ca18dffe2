"""`ml-assets trials`: every set of parameters that a search has tried."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.table import Table

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, limit_option, print_json
from ml_assets.cli.pipelines import optional_pipeline, reading
from ml_assets.errors import LakeError, did_you_mean
from ml_assets.escaping import as_written
from ml_assets.lake.lake import Lake
from ml_assets.tables.pipelines import only_pipeline
from ml_assets.tables.trials import need_newest


@click.command(short_help="The trials of the hyperparameter search.")
@optional_pipeline
@click.option("--candidate", help="Only this candidate.")
@click.option("--pin", help="Training set, as its id; by default the newest one that has trials.")
@click.option(
    "--sort", help="Column to sort by, smallest first; -COLUMN: greatest first. Default: the best score first."
)
@limit_option
@json_option
def trials(
    pipeline: str | None, candidate: str | None, pin: str | None, sort: str | None, limit: int, as_json: bool
) -> None:
    """Hyperparameter trials of PIPELINE (optional if there is only one)."""
    with reading(pipeline) as lake:
        found = newest_trials(lake, pipeline or only_pipeline(lake), candidate, pin)
    shown = ordered(found, sort)[:limit]
    if as_json:
        print_json(shown)
        return
    console.print(_table(shown))
    more = len(found) - len(shown)
    console.print(f"training set {found[0]['pin_id']}{f'; {more:,} more trials: --limit {len(found)}' if more else ''}")


def newest_trials(lake: Lake, pipeline: str, candidate: str | None, pin: str | None) -> list[dict[str, Any]]:
    """The trials of each candidate's newest search on a training set.

    Raises:
        LakeError: There are no trials, no such candidate or no such training set.
    """
    found = need_newest(lake, pipeline, candidate, pin)
    return [{**row, "spread": _spread(row["fold_scores"])} for row in found]


def ordered(rows: list[dict[str, Any]], sort: str | None) -> list[dict[str, Any]]:
    """Rows by a column, by default the best score first; rows without a value come last.

    Pruned trials follow complete ones in the default order: their score is that of their first fold alone.

    Args:
        rows: Trials.
        sort: Column, smallest first; with a minus before it, greatest first.

    Raises:
        LakeError: There is no such column.
    """
    from ml_assets.metrics import METRICS

    column = (sort or "score").removeprefix("-")
    if column not in rows[0]:
        raise LakeError(f"Trials have no column {column!r}.", fix=did_you_mean(column, rows[0]))
    with_value = [row for row in rows if row.get(column) is not None]
    down = sort.startswith("-") if sort else METRICS[rows[0]["metric"]].is_higher_better
    made = sorted(with_value, key=lambda row: _comparable(row[column]), reverse=down)
    if sort is None:
        made.sort(key=lambda row: row.get("state") == "pruned")
    return made + [row for row in rows if row.get(column) is None]


def _comparable(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _spread(scores: list[float | None] | None) -> float | None:
    """Best minus worst fold; the lake has NULL where the metric is not defined."""
    defined = [score for score in scores or [] if score is not None]
    return max(defined) - min(defined) if len(defined) > 1 else None


def _table(rows: list[dict[str, Any]]) -> Table:
    score = rows[0]["metric"] if rows else "score"
    is_told = any(row["error"] or row["warning"] for row in rows)
    columns = ("candidate", "trial", "state", score, "spread", "seconds", "params")
    made = grid(*columns, *(["warning or error"] if is_told else []), numbers=("trial", score, "spread", "seconds"))
    for row in rows:
        made.add_row(
            row["candidate"],
            str(row["trial"]),
            row.get("state") or ("failed" if row["error"] else "complete"),
            _number(row["score"], ".4f"),
            _number(row["spread"], ".4f"),
            _number(row["seconds"], ".2f"),
            ", ".join(f"{name}={_short(value)}" for name, value in row["params"].items()),
            *([row["error"] or row["warning"] or ""] if is_told else []),
        )
    return made


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else as_written(value)
