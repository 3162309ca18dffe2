"""Ingestion of many rows against bare DuckDB statements, and of many batches against few.

    python -m benchmarks.ingest [--rows 10_000_000] [--rounds 3] [--batches 100] [--memory 1GiB]

The first part runs raw_data, validated_data, quarantine and features for one batch, as the command that a user types,
in turn with a script of the statements that do the same work (plain_ingest.py). The second lets batches of 20,000
rows arrive one by one, each in a run of its own. Writing the files and registering the batches are not measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import skeleton
from benchmarks.cost import Cost, in_other_process, measured, print_setting

HERE = Path(__file__).parent
GOAL = 1.5  # of the bare statements' wall time
GOAL_GROWTH = 1.2  # of the seconds per batch around batch 10
GOAL_MIB = 2048
SMALL_ROWS = 20_000
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
STEPS = ("raw_data", "validated_data", "quarantine", "lookup_store_history", "features")

# 20 columns and 15 rules: eight not_null, three min, one max, one regex, the key, one SQL predicate.
SPEC: dict[str, Any] = {
    "name": "sales",
    "source": {
        "path": "data/incoming",
        "pattern": r"sales_(?P<batch>\d+)\.parquet",
        "settle_seconds": 0,
    },
    "columns": [
        {"name": "sale", "type": "integer", "min": 1},
        {"name": "store", "type": "integer"},
        {"name": "product", "type": "string", "regex": "P[0-9]{4}"},
        {"name": "sold_at", "type": "timestamp"},
        {"name": "day", "type": "date"},
        {"name": "price", "type": "number", "min": 0},
        {"name": "pieces", "type": "integer", "min": 1, "max": 100},
        {"name": "by_card", "type": "boolean"},
        *({"name": f"number_{n}", "type": "number", "nullable": True} for n in range(6)),
        *({"name": f"whole_{n}", "type": "integer", "nullable": True} for n in range(3)),
        *({"name": f"word_{n}", "type": "string", "nullable": True} for n in range(2)),
        {"name": "returned", "type": "boolean", "nullable": True, "outcome": True},
    ],
    "key": ["sale"],
    "rules": {"price_is_plausible": "price * pieces < 100000"},
    "tolerate": {"quarantined": 0.05},
    "target": {"name": "is_return", "sql": "returned", "kind": "binary"},
    "lookups": {"store_history": {"key": ["store"], "sql": "store_history.sql", "batches": 6}},
    "features": "features.sql",
    "candidates": {"tree": {"estimator": "sklearn.tree.DecisionTreeClassifier"}},
}
SQL = {
    "store_history.sql": "SELECT store, count(*) AS sales, avg(is_return::INT) AS return_share FROM history GROUP BY 1",
    "features.sql": """SELECT b.row_id, b.product, b.price, b.pieces, b.price * b.pieces AS total, b.by_card,
    hour(b.sold_at) AS sold_hour, dayofweek(b.day) AS weekday, coalesce(b.number_0, 0) AS number_0,
    b.number_1 + b.number_2 AS number_12, ln(1 + abs(b.number_3)) AS number_3, b.word_0, b.whole_0,
    h.return_share, h.sales
FROM batch b LEFT JOIN store_history h ON h.store = b.store
""",
}
# About 2 % of the rows break a rule: a missing value, a value out of range, a product without its form, a sale twice.
ROWS = """SELECT
    CASE WHEN r % 400 = 7 THEN r - 1 ELSE r + 1 END AS sale, (hash(r, 1) % 500)::BIGINT AS store,
    CASE WHEN hash(r, 2) % 200 = 0 THEN 'unknown' ELSE 'P' || lpad((hash(r, 3) % 3000)::VARCHAR, 4, '0') END AS product,
    TIMESTAMP '2024-01-01' + to_seconds((hash(r, 4) % 2592000)::BIGINT) AS sold_at,
    DATE '2024-01-01' + (hash(r, 4) // 86400 % 30)::INTEGER AS day,
    CASE WHEN hash(r, 5) % 300 = 0 THEN NULL ELSE round(hash(r, 6) % 100000 / 100, 2) END AS price,
    CASE WHEN hash(r, 7) % 200 = 0 THEN 0 ELSE (1 + hash(r, 8) % 20)::BIGINT END AS pieces,
    hash(r, 9) % 3 = 0 AS by_card, {numbers},
    {wholes}, {words}, CASE WHEN hash(r, 10) % 10 > 0 THEN hash(r, 11) % 12 = 0 END AS returned
FROM range({first}, {last}) t(r)"""


@dataclass(frozen=True)
class Round:
    """One round over the same file, and the rows that each left behind."""

    project: Cost
    plain: Cost
    project_rows: dict[str, int]
    plain_rows: dict[str, int]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the large batch; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3, help="times that both are run (default: 3)")
    parser.add_argument("--batches", type=int, default=100, help="small batches, at least 20; 0 leaves them out")
    parser.add_argument("--memory", default="1GiB", help="memory limit of DuckDB, for both (default: 1GiB)")
    options = parser.parse_args()
    os.environ.pop("ML_ASSETS_DATA", None)
    print_setting("ingest", ("dagster", "duckdb"))
    met = True
    with tempfile.TemporaryDirectory(prefix="ingest-") as temporary:
        folder = Path(temporary)
        if options.rows:
            met &= large(folder, options.rows, options.rounds, options.memory)
        if options.batches:
            met &= in_other_process(small, folder / "small", options.batches, options.memory)
    return 0 if met else 1


def large(folder: Path, rows: int, rounds: int, memory: str) -> bool:
    """One batch of many rows, in turn by the project and by bare statements. Is the goal met?"""
    file = folder / "sales_001.parquet"
    in_other_process(write_rows, file, 0, rows)
    print(f"\none batch of {rows:,} rows, {file.stat().st_size / 1024**2:.0f} MiB as Parquet", flush=True)
    done = []
    for number in range(1, rounds + 1):
        done.append(run_round(file, folder / f"round_{number}", memory))
        shutil.rmtree(folder / f"round_{number}")
        for name, cost in (("project", done[-1].project), ("plain", done[-1].plain)):
            print(
                f"round {number}  {name:8} wall {cost.wall_s:7.1f} s, CPU {cost.cpu_s:7.1f} s, "
                f"peak {cost.peak_mib:5.0f} MiB; others used {cost.others_s:.0f} s of CPU time",
                flush=True,
            )
    print(f"\n{'median':20}{'project':>10}{'plain':>10}{'ratio':>8}")
    ratios, peaks = {}, []
    for label, field in (("wall time, s", "wall_s"), ("CPU time, s", "cpu_s"), ("peak memory, MiB", "peak_mib")):
        ours, bare = (
            statistics.median(getattr(getattr(r, part), field) for r in done) for part in ("project", "plain")
        )
        ratios[field] = ours / bare
        peaks.append(ours)
        print(f"{label:20}{ours:10.1f}{bare:10.1f}{ours / bare:8.2f}")
    same = all(one.project_rows == one.plain_rows for one in done)
    print("the same rows: " + ", ".join(f"{name} {count:,}" for name, count in done[-1].project_rows.items()))
    if not same:
        print(f"NOT the same rows: {done[-1].plain_rows}; the ratio says nothing")
    ok = ratios["wall_s"] <= GOAL and peaks[-1] <= GOAL_MIB
    print(f"goal: at most {GOAL} times the wall time and {GOAL_MIB} MiB; {'met' if ok else 'NOT met'}")
    return ok and same


def run_round(file: Path, folder: Path, memory: str) -> Round:
    """The project's steps in a new project, then the bare statements, on the same file."""
    project, out = folder / "project", folder / "plain"
    skeleton.make(project)
    defs = skeleton.declare(project, SPEC, SQL)
    out.mkdir()
    (project / "data" / "incoming" / file.name).symlink_to(file)
    skeleton.materialize(project, skeleton.keys("sales", ["arrivals"]))
    costs = skeleton.materialize(project, skeleton.keys("sales", STEPS), "--partition", "001", memory=memory)
    script = [sys.executable, *map(str, [HERE / "plain_ingest.py", file, defs, out]), memory]
    plain = measured(script, folder, dict(os.environ))
    return Round(
        project=costs,
        plain=plain,
        project_rows=in_other_process(rows_of, project / "data" / "lake"),
        plain_rows=in_other_process(rows_of, out),
    )


def limited(memory: str) -> dict[str, Any]:
    """Run config that sets DuckDB's memory limit."""
    return {"resources": {"lake": {"config": {"memory_limit": memory}}}}


def write_rows(file: Path, first: int, last: int) -> None:
    """Synthetic rows, always the same, as Parquet."""
    import duckdb

    numbers = ", ".join(
        f"CASE WHEN hash(r, {20 + n}) % 20 > 0 THEN hash(r, {30 + n}) % 1e6 / 1e3 END AS number_{n}" for n in range(6)
    )
    wholes = ", ".join(f"(hash(r, {40 + n}) % 100000)::BIGINT AS whole_{n}" for n in range(3))
    words = ", ".join(f"'w' || hash(r, {50 + n}) % 1000 AS word_{n}" for n in range(2))
    sql = ROWS.format(numbers=numbers, wholes=wholes, words=words, first=first, last=last)
    with duckdb.connect(config={"memory_limit": "1GiB"}) as con:
        con.execute(f"COPY ({sql}) TO '{file}' (FORMAT parquet)")


def rows_of(lake: Path) -> dict[str, int]:
    """Rows of each table that both make."""
    from ml_assets.lake.lake import Lake

    with Lake(lake, read_only=True) as opened:
        asset_names = ("raw_data", "validated_data", "quarantine", "features")
        return {asset_name: opened.count(f"sales.{asset_name}") for asset_name in asset_names}


def small(folder: Path, batches: int, memory: str) -> bool:
    """Small batches one by one, each in a run of its own, in one process. Do the last cost what the first did?"""
    import dagster as dg

    from ml_assets.component import build_pipeline
    from ml_assets.lake.paths import Paths
    from ml_assets.spec import PipelineSpec

    warnings.simplefilter("ignore")  # Dagster marks backfill policies and checks per partition as young
    skeleton.make(folder)
    spec, paths = PipelineSpec.model_validate(SPEC), Paths(folder, folder / "data")
    pipeline = build_pipeline(spec, skeleton.declare(folder, SPEC, SQL), paths)
    defs = dg.Definitions.merge(pipeline, dg.Definitions(executor=dg.in_process_executor))
    job = defs.resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey(["sales", asset_name]) for asset_name in ("arrivals", *STEPS)]
    wall_s, cpu_s = [], []
    with dg.DagsterInstance.from_config(str(folder / "data" / "dagster")) as instance:
        for number in range(1, batches + 1):
            batch, first = f"{number:03}", number * SMALL_ROWS
            write_rows(paths.resolve(spec.source.path) / f"sales_{batch}.parquet", first, first + SMALL_ROWS)
            instance.add_dynamic_partitions("sales_batches", [batch])
            started, busy = time.perf_counter(), time.process_time()
            job.execute_in_process(
                partition_key=batch,
                instance=instance,
                asset_selection=keys,
                run_config={**limited(memory), **QUIET},
            )
            wall_s.append(time.perf_counter() - started)
            cpu_s.append(time.process_time() - busy)
    print(f"\n{batches} batches of {SMALL_ROWS:,} rows, each in a run of its own, with a lookup over 6 batches")
    print(f"{'median per batch':20}{'wall, s':>10}{'CPU, s':>10}")
    for first in range(0, batches, 10):
        part = slice(first, min(first + 10, batches))
        name = f"{first + 1} to {part.stop}"
        print(f"{name:20}{statistics.median(wall_s[part]):10.2f}{statistics.median(cpu_s[part]):10.2f}")
    wall, cpu = (statistics.median(cost[-10:]) / statistics.median(cost[5:15] or cost) for cost in (wall_s, cpu_s))
    print(f"the last ten against batches 6 to 15: wall {wall:.2f}, CPU {cpu:.2f}")
    print(f"goal: at most {GOAL_GROWTH} of the wall time; {'met' if wall <= GOAL_GROWTH else 'NOT met'}", flush=True)
    return wall <= GOAL_GROWTH


if __name__ == "__main__":
    sys.exit(main())
