"""All attacks, one after the other: `python -m benchmarks.torture [--seed N] [--scale X] [--only WORD]`."""

from __future__ import annotations

import argparse
import logging
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
from dagster import __version__ as dagster_version

from benchmarks.torture import cluster, damage, feeding, processes, servers, writers
from benchmarks.torture.outcome import Outcome, markdown

Attack = Callable[[Path], Outcome | list[Outcome]]


def attacks(seed: int, scale: float) -> dict[str, Attack]:
    """Name -> attack; `scale` multiplies how often each is tried."""

    def times(number: int) -> int:
        return max(1, round(number * scale))

    return {
        "kill_writers": partial(writers.kill_writers, seed=seed, times=times(40)),
        "parallel_writers": partial(writers.parallel_writers, seed=seed, writers=4, stamps=times(25)),
        "file_limit": partial(writers.file_limit, times=times(6)),
        "full_disk": partial(writers.full_disk, times=times(12)),
        "cluster_kill_writers": partial(cluster.kill_writers, seed=seed, times=times(40)),
        "cluster_crash_servers": partial(cluster.crash_servers, seed=seed, times=times(10)),
        "damaged_lake": partial(damage.damaged_lake, seed=seed, times=times(60)),
        "hostile_files": partial(feeding.fed, seed=seed, count=times(250)),
        "tampered_releases": partial(servers.tampered_releases, seed=seed),
        "attacked_server": partial(servers.attacked_server, seed=seed, clients=times(40), requests=times(2_000)),
        "kill_services": partial(processes.kill_services, seed=seed, kills=times(8)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", default="", help="only attacks with this word in their name")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)  # Dagster's events of the trainings
    done = []
    for name, attack in attacks(options.seed, options.scale).items():
        if options.only not in name:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            made = attack(Path(folder))
        outcomes = made if isinstance(made, list) else [made]
        done += outcomes
        seconds = time.perf_counter() - started
        held, tried = sum(one.held for one in outcomes), sum(one.tried for one in outcomes)
        print(f"{name}: {held} of {tried} held, {seconds:.0f} s", flush=True)
        for text in dict.fromkeys(text for one in outcomes for text in one.broken):
            print(f"  broken: {text}", flush=True)
    print(f"\nseed {options.seed}, scale {options.scale:g}; {machine()}\n\n{markdown(done)}")
    return 1 if any(outcome.broken for outcome in done) else 0


def machine() -> str:
    """Machine and versions, for the table."""
    return (
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, dagster {dagster_version}, "
        f"duckdb {duckdb.__version__}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
