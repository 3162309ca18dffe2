"""Batch scoring of one large batch: time and peak memory of the command, by size.

    python -m benchmarks.scoring [--rows 1_000_000 10_000_000]

A champion is trained on three small batches; then batches of these sizes arrive, are ingested up to the features, and
are scored by `dagster asset materialize --select predictions` in a process of its own, with its check. Bounded memory
means that ten times the rows do not need ten times the memory.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import search
from benchmarks.flights import cpu_model, in_other_process, measured

GOAL_MIB = 2048
SMALL = 40_000
LENIENT: dict[str, Any] = {"serving": None, "slices": None, "sensitivity": None, "leakage": None}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000], help="rows of the batches")
    options = parser.parse_args()
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    print(f"machine   {cpu_model()}, {os.cpu_count()} cores, {memory_gib:.1f} GiB, load {os.getloadavg()[0]:.1f}")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("scikit-learn", "onnxruntime", "dagster", "duckdb"))
    print(f"versions  python {platform.python_version()}, {libraries}")
    print(f"command   python -m benchmarks.scoring --rows {' '.join(map(str, options.rows))}")
    print(f"data      {search.NUMBERS} numbers, {search.WORDS} categories; boosting of 100 trees, as ONNX", flush=True)
    with tempfile.TemporaryDirectory(prefix="scoring-") as temporary:
        folder = Path(temporary)
        in_other_process(prepare, folder)
        peaks = [score(folder, number, rows) for number, rows in enumerate(options.rows, search.BATCHES + 1)]
    return 0 if max(peaks) <= GOAL_MIB else 1


def prepare(folder: Path) -> None:
    """A project with a champion."""
    search.SPEC = {**copy.deepcopy(search.SPEC), "gates": LENIENT}
    search.ingest(folder, SMALL)
    run(folder, '+key:"wide/champion"', "--partition-range", f"1...{search.BATCHES}")


def score(folder: Path, number: int, rows: int) -> float:
    """Let a batch arrive and score it; returns the peak in MiB."""
    batch = str(number)
    in_other_process(search.write_batch, folder, batch, SMALL + 1, SMALL + 1 + rows)
    run(folder, 'key:"wide/arrivals"')
    run(folder, " or ".join(f'key:"wide/{asset_name}"' for asset_name in search.INGESTED[1:]), "--partition", batch)
    cost = run(folder, 'key:"wide/predictions"', "--partition", batch)
    print(
        f"{rows:>12,} rows  {cost.wall_s:6.1f} s, {rows / cost.wall_s:,.0f} rows a second, CPU {cost.cpu_s:.1f} s, "
        f"peak {cost.peak_mib:.0f} MiB (goal: {GOAL_MIB})",
        flush=True,
    )
    return cost.peak_mib


def run(folder: Path, select: str, *arguments: str) -> Any:
    """A command as a user types it."""
    environment = {**os.environ, "DAGSTER_HOME": str(folder / "data" / "dagster")}
    command = [
        sys.executable,
        "-m",
        "dagster",
        "asset",
        "materialize",
        "-m",
        f"{search.MODULE}.definitions",
        "--select",
    ]
    return measured([*command, select, *arguments], folder, environment)


if __name__ == "__main__":
    sys.exit(main())
