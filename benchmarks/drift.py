"""One drift report of a batch of many rows and columns: time, memory, and the size of what it leaves.

    python -m benchmarks.drift [--rows 10_000_000] [--columns 200] [--memory 1GiB]

A project with four fifths numbers and one fifth categories trains a champion on three small batches. The large batch's
features and predictions are then written into the lake by SQL. Measured is the step drift_report alone, as the command
that a user types, in a process of its own; a command for one small batch beforehand shows what starting Dagster and
importing Evidently cost.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import skeleton
from benchmarks.cost import Cost, in_other_process, print_setting

GOAL_S, GOAL_MIB = 60, 2048
SMALL_ROWS = 20_000
SMALL, LARGE = ("001", "002", "003", "004"), "005"
TRAINING = ("training_set", "candidate_linear", "trained_model", "evaluation_report", "release_candidate", "champion")
HISTORY = 1_000_000_000  # the first row id of the small batches: no row is in two of them


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the large batch")
    parser.add_argument("--columns", type=int, default=200, help="features")
    parser.add_argument("--memory", default="1GiB", help="memory limit of DuckDB (default: 1GiB)")
    options = parser.parse_args()
    os.environ.pop("ML_ASSETS_DATA", None)
    print_setting("drift", ("dagster", "duckdb", "evidently"))
    with tempfile.TemporaryDirectory(prefix="drift-") as temporary:
        folder = Path(temporary)
        in_other_process(make_project, folder, options.columns)
        materialize(folder, options.memory, ["arrivals"])
        materialize(folder, options.memory, ["raw_data", "validated_data", "quarantine", "features"], SMALL)
        materialize(folder, options.memory, TRAINING)
        materialize(folder, options.memory, ["predictions"], SMALL[-1:])
        in_other_process(write_large, folder, options.rows, options.columns)
        stored = sum(f.stat().st_size for f in (folder / "data" / "lake").rglob("*.parquet")) / 1024**3
        print(f"\nfeatures of {options.rows:,} rows with {options.columns} columns, {stored:.1f} GiB as Parquet")
        small = materialize(folder, options.memory, ["drift_report"], SMALL[-1:])
        print(f"{SMALL_ROWS:>12,} rows: {shown(small)}", flush=True)
        large = materialize(folder, options.memory, ["drift_report"], [LARGE])
        print(f"{options.rows:>12,} rows: {shown(large)}")
        print_left(folder)
    met = large.wall_s <= GOAL_S and large.peak_mib <= GOAL_MIB
    print(f"goal: at most {GOAL_S} s and {GOAL_MIB} MiB; {'met' if met else 'NOT met'}")
    return 0 if met else 1


def materialize(folder: Path, memory: str, asset_names: Sequence[str], batches: Sequence[str] = ()) -> Cost:
    """Materialize assets of batches; returns the cost."""
    if len(batches) == 1:
        where = ["--partition", batches[0]]
    else:
        where = ["--partition-range", f"{batches[0]}...{batches[-1]}"] if batches else []
    return skeleton.materialize(folder, skeleton.keys("wide", asset_names), *where, memory=memory)


def shown(cost: Cost) -> str:
    """A cost as a line."""
    return (
        f"wall {cost.wall_s:.1f} s, CPU {cost.cpu_s:.1f} s, peak {cost.peak_mib:.0f} MiB; "
        f"others used {cost.others_s:.0f} s of CPU time"
    )


def names(columns: int) -> dict[str, str]:
    """Column -> its type: every fifth is a category."""
    return {f"f{n:03}": "string" if n % 5 == 4 else "number" for n in range(columns)}


def make_project(folder: Path, columns: int) -> None:
    """A project with the pipeline `wide`, and its small batches."""
    import duckdb

    kinds = names(columns)
    spec: dict[str, Any] = {
        "name": "wide",
        "source": {"path": "data/incoming", "pattern": r"wide_(?P<batch>\d+)\.parquet", "settle_seconds": 0},
        "columns": [
            {"name": "r", "type": "integer"},
            *({"name": name, "type": kind, "nullable": True} for name, kind in kinds.items()),
            {"name": "bad", "type": "boolean", "outcome": True},
        ],
        "key": ["r"],
        "target": {"name": "is_bad", "sql": "bad", "kind": "binary"},
        "features": "features.sql",
        "candidates": {"linear": {"estimator": "sklearn.linear_model.SGDClassifier", "params": {"loss": "log_loss"}}},
        "tuning": {"trials": 1, "folds": 2},
        "gates": {"serving": None},
    }
    skeleton.make(folder)
    features = f"SELECT b.row_id, {', '.join(f'b.{name}' for name in kinds)} FROM batch b\n"
    skeleton.declare(folder, spec, {"features.sql": features})
    with duckdb.connect(config={"memory_limit": "1GiB"}) as con:
        for place, batch in enumerate(SMALL):
            first = HISTORY + place * SMALL_ROWS
            file = folder / "data" / "incoming" / f"wide_{batch}.parquet"
            con.execute(
                f"""COPY (SELECT r, {values(columns)}, f000 + hash(r) % 20 > 18 AS bad
                FROM range({first}, {first + SMALL_ROWS}) t(r)) TO '{file}' (FORMAT parquet)"""
            )


def values(columns: int) -> str:
    """SELECT list of synthetic features of the row number `r`, always the same; some values are missing."""
    parts = []
    for n, (name, kind) in enumerate(names(columns).items()):
        draw = f"(hash(r, {n}) % 1000003 / 1000003.0)"
        if kind == "string":
            parts.append(f"'v' || floor({draw} * {draw} * {4 + n % 40})::INT AS {name}")
            continue
        value = f"sqrt(-2 * ln({draw} + 1e-9)) * 10"
        value = f"round({value}, {n % 4})" if n % 2 else value
        value = f"CASE WHEN hash(r, {n}, 1) % 10 > 0 THEN {value} END" if n % 7 == 6 else value
        parts.append(f"{value} AS {name}")
    return ", ".join(parts)


def write_large(folder: Path, rows: int, columns: int) -> None:
    """The large batch's features and predictions, written by SQL; a few columns have moved."""
    import dagster as dg

    from ml_assets.lake.lake import Commit, Lake, Put

    moved = "* REPLACE (f000 + 12 AS f000, f001 * 2 AS f001)"
    with Lake(folder / "data" / "lake", memory_limit="1GiB") as lake:
        lake.con.execute(
            f"""CREATE TEMP VIEW large AS SELECT {moved} FROM
            (SELECT '{LARGE}' AS batch, r AS row_id, {values(columns)} FROM range({rows}) t(r))"""
        )
        lake.con.execute(
            f"""CREATE TEMP VIEW said AS SELECT '{LARGE}' AS batch, r AS row_id, '1.0.0' AS model_version,
            'champion' AS role, hash(r) % 1000 / 1000.0 AS score FROM range({rows}) t(r)"""
        )
        for asset_name, source in (("features", "large"), ("predictions", "said")):
            put = Put(f"wide.{asset_name}", source, LARGE, version="benchmark")  # to hash the rows would take its time
            lake.replace([put], Commit(f"wide/{asset_name}", batch=LARGE))
    with dg.DagsterInstance.from_config(str(folder / "data" / "dagster")) as instance:
        instance.add_dynamic_partitions("wide_batches", [LARGE])


def print_left(folder: Path) -> None:
    """The verdict, and the bytes of the page, its JSON and the run of the history."""
    from ml_assets.lake.lake import Lake

    with Lake(folder / "data" / "lake", read_only=True) as lake:
        (row,) = lake.rows("SELECT * FROM lake.wide.drift_report WHERE batch = ?", [LARGE])
    page, text = folder / "data" / "reports" / row["html"], folder / "data" / "reports" / row["json"]
    runs = max(file.stat().st_size for file in (folder / "data" / "evidently").glob("*/snapshots/*.json"))
    print(f"{row['reference_rows']:,} rows of the reference, {len(row['columns'])} columns in the table")
    print(f"page {page.stat().st_size:,} bytes, JSON {text.stat().st_size:,}, run of the history {runs:,}")
    print(json.dumps(row["why"]))


if __name__ == "__main__":
    sys.exit(main())
