"""Many pipelines in one project: how long the definitions load, and one check of every sensor takes.

    python -m benchmarks.scale pipelines [--pipelines 100] [--batches 10]

The YAML files are real, the lake is written by the tables' own functions (benchmarks/lakes.py), without any training.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks import skeleton
from benchmarks.cost import in_other_process, measured
from benchmarks.lakes import Story, write
from benchmarks.scale import project

TITLES = {
    "first_checks": "the first check of every sensor",
    "next_checks": "the next, of what the first has written",
    "checks": "those that follow, nothing new",
}
GOAL_LOAD_S, GOAL_CHECKS_S = 10, 30  # of CPU; the second is the interval of Dagster's sensors

# The columns that `write` fills.
STORY: dict[str, Any] = {
    "columns": [
        {"name": "region", "type": "string"},
        {"name": "amount", "type": "number", "nullable": True, "outcome": True},
    ],
    "key": [],
    "rules": {"region_is_known": "region != ''"},
    "target": {"name": "is_large", "sql": "amount > 0.5", "kind": "binary"},
    "lookups": {},
}
FEATURES = {"features.sql": "SELECT b.row_id, b.region FROM batch b\n"}


def measure(folder: Path, pipelines: int, batches: int) -> dict[str, Any]:
    """Declare so many pipelines with so many batches each, and measure."""
    names = [f"p{number:03}" for number in range(pipelines)]
    project.make(folder)
    for name in names:
        (folder / "data" / "incoming" / name).mkdir()
        own = {"name": name, "source": {**project.SPEC["source"], "path": f"data/incoming/{name}"}}
        skeleton.declare(folder, {**project.SPEC, **STORY, **own}, FEATURES)
    in_other_process(fill, folder, names, batches)
    environment = {**os.environ, "DAGSTER_HOME": str(folder / "data" / "dagster")}
    command = [sys.executable, "-c", f"import {skeleton.MODULE}.definitions"]
    bare, whole = (measured(one, folder, environment) for one in ([sys.executable, "-c", "import dagster"], command))
    found = in_other_process(checks, folder)
    return {
        "pipelines": pipelines,
        "batches_of_each": batches,
        "load_s": round(whole.wall_s, 1),
        "load_cpu_s": round(whole.cpu_s, 1),
        "import_of_dagster_cpu_s": round(bare.cpu_s, 1),
        "load_mib": round(whole.peak_mib),
        **found,
    }


def fill(folder: Path, names: list[str], batches: int) -> None:
    """A champion, files and reports for each pipeline."""
    from ml_assets.lake.lake import Lake
    from ml_assets.lake.paths import Paths

    with Lake.of(Paths(folder, folder / "data")) as lake:
        for name in names:
            write(lake, Story(name, batches))


def checks(folder: Path) -> dict[str, Any]:
    """Wall and CPU seconds of one check of every sensor.

    The first ever reads the whole lake and writes what it decides, the next one reads that, and then nothing is new.
    """
    import dagster as dg

    warnings.simplefilter("ignore")
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    from benchmark_project.definitions import defs  # type: ignore[import-not-found]

    found: dict[str, Any] = {}
    cursors: dict[str, str | None] = {}
    with dg.DagsterInstance.from_config(str(folder / "data" / "dagster")) as instance:
        sensors = [one for one in dg.Definitions.merge(defs).sensors or () if type(one) is dg.SensorDefinition]
        for title in TITLES:
            wall, cpu, slowest = time.perf_counter(), time.process_time(), defaultdict[str, float](float)
            for sensor in sensors:
                began = time.process_time()
                with dg.build_sensor_context(instance=instance, cursor=cursors.get(sensor.name)) as context:
                    made = sensor(context)
                cursors[sensor.name] = getattr(made, "cursor", None) or cursors.get(sensor.name)
                slowest[sensor.name.partition("_")[2]] += time.process_time() - began
            found[f"{title}_s"] = round(time.perf_counter() - wall, 2)
            found[f"{title}_cpu_s"] = round(time.process_time() - cpu, 2)
            found[f"{title}_by_sensor_cpu_s"] = {name: round(s, 2) for name, s in sorted(slowest.items())}
    return {"sensors": len(sensors), **found}


def report(found: dict[str, Any]) -> bool:
    """Print the figures; were the goals met?"""
    print(f"\n{found['pipelines']} pipelines of {found['batches_of_each']} batches, {found['sensors']} sensors")
    print("| what | wall time, s | CPU time, s |\n|---|---|---|")
    print(f"| definitions loaded (peak {found['load_mib']:,} MiB) | {found['load_s']} | {found['load_cpu_s']} |")
    print(f"| of that, import of dagster | | {found['import_of_dagster_cpu_s']} |")
    for name, title in TITLES.items():
        print(f"| {title} | {found[name + '_s']} | {found[name + '_cpu_s']} |")
    print(f"CPU seconds by sensor, nothing new: {found['checks_by_sensor_cpu_s']}")
    met = found["load_cpu_s"] <= GOAL_LOAD_S and found["checks_cpu_s"] <= GOAL_CHECKS_S
    print(f"goals, of CPU time: {GOAL_LOAD_S} s, {GOAL_CHECKS_S} s; {'' if met else 'NOT '}met", flush=True)
    return bool(met)
