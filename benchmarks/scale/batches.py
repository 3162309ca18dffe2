"""Many batches in one lake: what a new batch, a sensor's check and the maintenance cost, by how many there are.

    python -m benchmarks.scale batches [--sizes 100 1_000 10_000]

Thousands of real ingests would take hours. So one batch is ingested by its real assets, and copied (copies.py): rows,
files, statistics and snapshots are there as if each copy had been ingested, one in each hour. Batches are real
partitions of Dagster with real files. What is measured is real: runs of new batches, after a run of the maintenance, as
its schedule starts one every night: the snapshots that nobody needs any more have expired.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import hashlib
import os
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.cost import in_other_process
from benchmarks.scale import copies, project
from benchmarks.skeleton import MODULE
from ml_assets.resources import ENV_STATIC

GOAL_GROWTH, GOAL_CHECK_S, GOAL_MIB = 1.2, 1.0, 2048
TEMPLATE, SMALL, NEW = "00000", 50, 20_000  # the batch that is copied, its rows, and those of a new one
REPEATS = 3
WARM, TURNS = 2, 12


def measure(
    folder: Path, sizes: Sequence[int], new: int = NEW, repeats: int = REPEATS, turns: int = TURNS
) -> dict[str, Any]:
    """Fill a lake of each size, and measure there; returns a row for each size.

    Each has a lake of its own: copies are older than what is measured, so a lake could not be filled up later.

    Args:
        folder: An empty folder.
        sizes: Numbers of batches, rising.
        new: Rows of each new batch.
        repeats: How many new batches arrive at each size; the median counts.
        turns: How many arrive by turns in the smallest and the largest lake.
    """
    os.environ[ENV_STATIC] = "0"  # pages are written by a process of their own, beside what is measured
    table = []
    for size in sizes:
        lake = folder / str(size)
        project.make(lake)
        in_other_process(start, lake)
        filled_s = in_other_process(fill, lake, size)
        in_other_process(maintained, lake)
        found = in_other_process(costs, lake, size, new, repeats)
        found |= in_other_process(maintained, lake)
        table.append({"batches": size, **found, "copied_s": round(filled_s, 1)})
        print(line(table[-1]), flush=True)
    ends = {size: folder / str(size) for size in (sizes[0], sizes[-1])}
    return {
        "rows_of_a_new_batch": new,
        "sizes": table,
        "turns": turns,
        "by_turns_cpu_s": by_turns(ends, repeats, new, turns),
    }


def by_turns(lakes: dict[int, Path], repeats: int, new: int, turns: int) -> dict[str, list[float]]:
    """Batches arrive by turns in lakes of different sizes; returns the CPU seconds of each, by size.

    What a machine needs for the same step changes within minutes: only what happens side by side can be compared.

    Args:
        lakes: Number of batches -> the project's folder.
        repeats: How many batches came there since.
        new: Rows of each batch.
        turns: How many arrive in each lake, after two that warm its process.
    """
    took: dict[int, list[float]] = {size: [] for size in lakes}
    with contextlib.ExitStack() as running:
        process = {size: running.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for size in lakes}
        for turn in range(WARM + turns):
            for size in sorted(lakes, reverse=turn % 2 == 1):
                number = size + repeats + turn
                took[size].append(process[size].submit(arrive, lakes[size], number, new).result())
    return {f"{size}": [round(seconds, 3) for seconds in found[WARM:]] for size, found in took.items()}


def arrive(folder: Path, number: int, rows: int) -> float:
    """A batch with this number arrives; returns the CPU seconds of its assets in a process that stays."""
    defs, instance = _of_process(folder)
    return ingest(folder, defs, instance, f"{number:05}", number * rows, rows)[1]


@cache
def _of_process(folder: Path) -> tuple[Any, Any]:
    return loaded(folder)[0], instance_of(folder)


def loaded(folder: Path) -> tuple[Any, Any, Any]:
    """The pipeline's definitions, its spec and its paths."""
    import dagster as dg

    from ml_assets.component import build_pipeline
    from ml_assets.lake.paths import Paths
    from ml_assets.loading import COLLECT_AFTER
    from ml_assets.spec import PipelineSpec

    gc.set_threshold(COLLECT_AFTER)  # as where a project loads its definitions
    warnings.simplefilter("ignore")  # Dagster marks backfill policies and checks per partition as young
    spec, paths = PipelineSpec.model_validate(project.SPEC), Paths(folder, folder / "data")
    pipeline = build_pipeline(spec, folder / MODULE / "defs" / project.NAME, paths)
    return dg.Definitions.merge(pipeline, dg.Definitions(executor=dg.in_process_executor)), spec, paths


def ingest(folder: Path, defs: Any, instance: Any, batch: str, first: int, rows: int) -> tuple[float, float]:
    """Let a batch arrive, and run its real assets and checks; returns wall and CPU seconds."""
    import dagster as dg

    project.write_batch(folder, batch, first, first + rows)
    instance.add_dynamic_partitions(f"{project.NAME}_batches", [batch])
    job = defs.resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey([project.NAME, name]) for name in ("arrivals", *project.INGESTED)]
    config = {
        "loggers": {"console": {"config": {"log_level": "ERROR"}}},
        "resources": {"lake": {"config": {"memory_limit": "1GiB"}}},
    }
    wall, cpu = time.perf_counter(), time.process_time()
    job.execute_in_process(partition_key=batch, instance=instance, asset_selection=keys, run_config=config)
    return time.perf_counter() - wall, time.process_time() - cpu


def instance_of(folder: Path) -> Any:
    import dagster as dg

    return dg.DagsterInstance.from_config(str(folder / "data" / "dagster"))


def start(folder: Path) -> None:
    """The batch that is copied."""
    from ml_assets.lake.lake import Lake

    defs, _, paths = loaded(folder)
    with Lake.of(paths) as lake:
        lake.con.execute("CALL lake.set_option('parquet_compression', 'uncompressed')")
    with instance_of(folder) as instance:
        ingest(folder, defs, instance, TEMPLATE, 0, SMALL)
    with Lake.of(paths) as lake:
        lake.con.execute("CALL lake.set_option('parquet_compression', 'snappy')")


def fill(folder: Path, size: int) -> float:
    """Copy the batch until there are so many; returns seconds."""
    from ml_assets.lake.lake import Commit, Lake
    from ml_assets.lake.paths import Paths
    from ml_assets.tables import arrivals

    began, paths = time.monotonic(), Paths(folder, folder / "data")
    names = [f"{number:05}" for number in range(1, size)]
    hashes = {name: copy_file(folder, name) for name in names}
    with Lake.of(paths) as lake:
        (arrival,) = arrivals.known(lake, project.NAME).values()
        known = [arrival, *(copied_arrival(folder, arrival, name, sha256) for name, sha256 in hashes.items())]
        lake.replace([arrivals.put(lake, project.NAME, known)], Commit(f"{project.NAME}/arrivals"))
    words = [{str(arrival.sha256): hashes[name], TEMPLATE: name} for name in names]
    copies.add(paths.lake, TEMPLATE, words, dt.datetime.now(dt.UTC))
    with instance_of(folder) as instance:
        instance.add_dynamic_partitions(f"{project.NAME}_batches", names)
    return time.monotonic() - began


def copy_file(folder: Path, batch: str) -> str:
    """A file of the same rows with other bytes, as each file has its own; returns its SHA-256."""
    source = folder / "data" / "incoming" / f"{project.NAME}_{TEMPLATE}.parquet"
    content = source.read_bytes()
    builder = b"DuckDB version v"  # who has written it: what no reader looks at
    if builder not in content:
        raise ValueError(f"{source} does not say what has written it.")
    content = content.replace(builder, f"Copy {batch:>11}".encode())
    source.with_name(f"{project.NAME}_{batch}.parquet").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def copied_arrival(folder: Path, like: Any, batch: str, sha256: str) -> Any:
    """The record of a copied file, as a scan finds it."""
    file = folder / "data" / "incoming" / f"{project.NAME}_{batch}.parquet"
    path = like.path.replace(f"_{like.batch}.", f"_{batch}.")
    modified = dt.datetime.fromtimestamp(file.stat().st_mtime_ns // 1000 / 1e6, dt.UTC).replace(tzinfo=None)
    return like._replace(path=path, batch=batch, sha256=sha256, modified_at=modified)


def costs(folder: Path, size: int, new: int, repeats: int) -> dict[str, Any]:
    """What new batches and everything that looks over all batches cost, in one process that has been used before."""
    import dagster as dg

    from ml_assets.graph.training.pinning import make_pin
    from ml_assets.lake.lake import Lake
    from ml_assets.pages import overview

    defs, spec, paths = loaded(folder)
    found: dict[str, Any] = {}
    with instance_of(folder) as instance:
        sensors = {sensor.name: sensor for sensor in defs.sensors or ()}
        cursors: dict[str, str | None] = {}

        def check(name: str) -> None:
            with dg.build_sensor_context(instance=instance, cursor=cursors.get(name)) as context:
                made = sensors[f"{project.NAME}_{name}"](context)
                cursors[name] = getattr(made, "cursor", None) or cursors.get(name)

        checks = ("new_data", "stale", "retrain")
        for name in checks:
            check(name)  # the first one reads what later ones remember
            found[f"check_{name}_s"] = fastest(partial(check, name))
        runs, after = [], dict[str, list[float]]()
        for number in range(size, size + repeats):
            runs.append(ingest(folder, defs, instance, f"{number:05}", number * new, new))
            for name in checks:
                after.setdefault(name, []).append(cpu_s(partial(check, name)))
        found |= {f"check_{name}_after_cpu_s": round(statistics.median(seconds), 3) for name, seconds in after.items()}
        found["new_batch_s"] = round(statistics.median(wall for wall, _ in runs), 2)
        found["new_batch_cpu_s"] = round(statistics.median(cpu for _, cpu in runs), 2)
    with Lake.of(paths, memory_limit="1GiB") as lake:
        found["pin_s"] = fastest(lambda: make_pin(lake, spec), 1)
        found["home_page_s"] = fastest(lambda: overview.read(lake, project.NAME, 1, {}))
    return found


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def fastest(work: Callable[[], object], times: int = 3) -> float:
    """Wall seconds of the fastest of some times."""
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return round(best, 3)


def maintained(folder: Path) -> dict[str, Any]:
    """A run of the maintenance in a process of its own: seconds, and its peak memory."""
    from ml_assets.lake.lake import Lake
    from ml_assets.lake.paths import Paths
    from ml_assets.tables.maintenance import run_maintenance

    began = time.monotonic()
    with Lake.of(Paths(folder, folder / "data"), memory_limit="1GiB") as lake:
        run_maintenance(lake, project.NAME, 30)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    catalog = (folder / "data" / "lake" / "catalog.sqlite").stat().st_size / 1024**2
    return {
        "maintenance_s": round(time.monotonic() - began, 1),
        "maintenance_mib": round(peak),
        "catalog_mib": round(catalog, 1),
    }


COLUMNS = {
    "batches": "batches",
    "new_batch_s": "new batch, s",
    "new_batch_cpu_s": "CPU, s",
    "check_new_data_s": "check of new data, s",
    "check_stale_s": "of staleness, s",
    "check_retrain_s": "of retraining, s",
    "check_new_data_after_cpu_s": "CPU of one after a new batch: new data, s",
    "check_stale_after_cpu_s": "staleness, s",
    "check_retrain_after_cpu_s": "retraining, s",
    "pin_s": "training set, s",
    "home_page_s": "home page, s",
    "maintenance_s": "maintenance, s",
    "maintenance_mib": "its memory, MiB",
    "catalog_mib": "catalog, MiB",
}


def line(row: dict[str, Any]) -> str:
    """As a line of Markdown."""
    return "| " + " | ".join(f"{row[name]:,}" for name in COLUMNS) + " |"


def report(found: dict[str, Any]) -> bool:
    """Print the table; were the goals met?"""
    rows = found["sizes"]
    print(f"\n| {' | '.join(COLUMNS.values())} |\n|{'---|' * len(COLUMNS)}")
    for row in rows:
        print(line(row))
    few, many = (statistics.median(seconds) for seconds in found["by_turns_cpu_s"].values())
    growth = many / few
    checks = max(seconds for row in rows for name, seconds in row.items() if name.startswith("check_"))
    peak = max(row["maintenance_mib"] for row in rows)
    met = growth <= GOAL_GROWTH and checks <= GOAL_CHECK_S and peak <= GOAL_MIB
    print(f"{found['turns']} batches by turns, CPU in the median: {few:.2f} s and {many:.2f} s, {growth:.2f} times")
    print(
        f"goals: {GOAL_GROWTH} times, checks {GOAL_CHECK_S} s, maintenance {GOAL_MIB} MiB: {'' if met else 'NOT '}met"
    )
    return bool(met)
