"""Batch scoring of one large batch: time and peak memory of the command, by size.

    python -m benchmarks.scoring [--rows 1_000_000 10_000_000]

A champion is trained on three small batches; then batches of these sizes arrive, are ingested up to the features, and
are scored by `dagster asset materialize --select predictions` in a process of its own, with its check. Bounded memory
means that ten times the rows do not need ten times the memory.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import search
from benchmarks.cost import in_other_process, print_setting
from benchmarks.skeleton import keys, materialize

GOAL_MIB = 2048
SMALL = 40_000
LENIENT: dict[str, Any] = {"serving": None, "slices": None, "sensitivity": None, "leakage": None}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000], help="rows of the batches")
    options = parser.parse_args()
    print_setting("scoring", ("scikit-learn", "onnxruntime", "dagster", "duckdb"))
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
    materialize(folder, '+key:"wide/champion"', "--partition-range", f"1...{search.BATCHES}")


def score(folder: Path, number: int, rows: int) -> float:
    """Let a batch arrive and score it; returns the peak in MiB."""
    batch = str(number)
    in_other_process(search.write_batch, folder, batch, SMALL + 1, SMALL + 1 + rows)
    materialize(folder, keys("wide", ["arrivals"]))
    materialize(folder, keys("wide", search.INGESTED[1:]), "--partition", batch)
    cost = materialize(folder, keys("wide", ["predictions"]), "--partition", batch)
    print(
        f"{rows:>12,} rows  {cost.wall_s:6.1f} s, {rows / cost.wall_s:,.0f} rows a second, CPU {cost.cpu_s:.1f} s, "
        f"peak {cost.peak_mib:.0f} MiB (goal: {GOAL_MIB})",
        flush=True,
    )
    return cost.peak_mib


if __name__ == "__main__":
    sys.exit(main())
