"""Many rows in batches: seconds and peak memory of each step, from files to a drift report.

    python -m benchmarks.scale rows [--rows 100_000_000] [--batches 100] [--watched 5]

Every step is the command that a user types, in a process of its own, so that its peak is its own. With `--folder` a run
that was stopped goes on after its last finished step.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks import skeleton
from benchmarks.cost import Cost, in_other_process
from benchmarks.scale import project

GOAL_MIB = 8 * 1024
TRAINING = ("training_set", "candidate_boosting", "trained_model", "evaluation_report", "release_candidate", "champion")


def measure(folder: Path, rows: int, batches: int, watched: int, memory: str, **changes: Any) -> dict[str, Any]:
    """Run every step; returns what each cost, as a table of dictionaries.

    Args:
        folder: An empty folder, or one where the same was stopped.
        rows: Of all batches.
        batches: How many.
        watched: How many of the newest get a drift report and a performance report.
        memory: DuckDB's memory limit.
        changes: Of the pipeline's attributes.
    """
    each = rows // batches
    names = [f"{number:05}" for number in range(1, batches + 1)]
    kept = folder / "steps.json"
    if not kept.exists():
        project.make(folder, **changes)
        for number, name in enumerate(names):
            in_other_process(project.write_batch, folder, name, number * each, (number + 1) * each)
        kept.write_text("[]")
    table: list[dict[str, Any]] = json.loads(kept.read_text())
    newest = ("--partition-range", f"{names[-watched]}...{names[-1]}")
    every = ("--partition-range", f"{names[0]}...{names[-1]}")
    steps: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
        ("arrivals", ("arrivals",), ()),
        ("raw_data", ("raw_data",), every),
        ("validated_data, quarantine", ("validated_data", "quarantine"), every),
        ("lookup, features", ("lookup_store_history", "features"), every),
        *((name, (name,), ()) for name in TRAINING),
        ("predictions", ("predictions",), every),
        (f"drift_report of {watched} batches", ("drift_report",), newest),
        (f"performance_report of {watched} batches", ("performance_report",), newest),
    ]
    for title, assets, which in steps[len(table) :]:
        cost = skeleton.materialize(folder, skeleton.keys(project.NAME, assets), *which, memory=memory)
        table.append(row(title, cost))
        kept.write_text(json.dumps(table))
        print(line(table[-1]), flush=True)
    shutil.rmtree(folder / "data" / "incoming")
    facts = in_other_process(left, folder)
    return {"rows": each * batches, "batches": batches, "memory_limit": memory, "steps": table, **facts}


def row(title: str, cost: Cost) -> dict[str, Any]:
    """A line of the table."""
    figures = {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "peak_mib": cost.peak_mib, "others_s": cost.others_s}
    return {"step": title, **{name: round(value, 1) for name, value in figures.items()}}


def line(row: dict[str, Any]) -> str:
    """As a line of Markdown."""
    return f"| {row['step']} | {row['wall_s']:,.1f} | {row['cpu_s']:,.1f} | {row['peak_mib']:,.0f} |"


def left(folder: Path) -> dict[str, Any]:
    """What the steps left: rows, the training set, the scores, bytes on disk."""
    from ml_assets.lake.lake import Lake
    from ml_assets.lake.paths import Paths
    from ml_assets.tables import training_sets, versions

    with Lake.of(Paths(folder, folder / "data"), read_only=True) as lake:
        pin = training_sets.newest(lake, project.NAME)
        champion = versions.alias(lake, project.NAME, "champion")
        ((score, low, high),) = lake.fetch(
            "SELECT value, low, high FROM lake.sales.evaluation_report WHERE metric = 'roc_auc' AND scope = 'test'"
        )
        return {
            "rows_validated": lake.count("sales.validated_data"),
            "rows_scored": lake.count("sales.predictions"),
            "training_set": pin.sample or f"all {sum(pin.rows.values()):,} labelled rows",
            "champion": champion.version if champion else None,
            "roc_auc": [round(score, 4), round(low, 4), round(high, 4)],
            "lake_mib": round(sum(file.size for file in lake.catalog.data.files()) / 1024**2),
        }


def report(found: dict[str, Any]) -> bool:
    """Print the table; was the goal met?"""
    print(f"\n{found['rows']:,} rows in {found['batches']} batches; DuckDB may use {found['memory_limit']}")
    print("| step | wall time, s | CPU time, s | peak memory, MiB |\n|---|---|---|---|")
    for one in found["steps"]:
        print(line(one))
    wall, cpu = (sum(one[name] for one in found["steps"]) for name in ("wall_s", "cpu_s"))
    peak = max(one["peak_mib"] for one in found["steps"])
    print(f"| all | {wall:,.1f} | {cpu:,.1f} | {peak:,.0f} |")
    print(
        f"{found['rows_validated']:,} rows validated, {found['rows_scored']:,} scored; lake {found['lake_mib']:,} MiB"
    )
    print(f"training set: {found['training_set']}; champion {found['champion']}, ROC AUC {found['roc_auc']}")
    print(f"goal: at most {GOAL_MIB:,} MiB; {'met' if peak <= GOAL_MIB else 'NOT met'}", flush=True)
    return bool(peak <= GOAL_MIB)
