"""What a process costs, and the machine and versions that a figure holds for."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

MOST_DISTURBED = 0.1  # CPU time of other processes, as a share of wall time


@dataclass(frozen=True)
class Cost:
    """What processes cost, from their start to their exit.

    Args:
        wall_s: Wall time, in seconds.
        cpu_s: User and system time, in seconds.
        peak_mib: Greatest resident memory of one process, in MiB.
        others_s: CPU time that the rest of the machine used meanwhile, in seconds; NaN where that cannot be told.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float
    others_s: float

    def __add__(self, later: Cost) -> Cost:
        return Cost(
            self.wall_s + later.wall_s,
            self.cpu_s + later.cpu_s,
            max(self.peak_mib, later.peak_mib),
            self.others_s + later.others_s,
        )


def in_other_process(function: Any, *arguments: Any) -> Any:
    """Call a function elsewhere: a child's peak memory starts at its parent's, so this process must stay small."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measured(command: list[str], folder: Path, environment: dict[str, str]) -> Cost:
    """Run a command in a folder and wait for its exit; what it prints goes to output.log there.

    Raises:
        RuntimeError: It failed; the text ends with the last lines of its output.
    """
    log = folder / "output.log"
    with log.open("a") as output:
        busy_before, started = busy_s(), time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s, busy = time.perf_counter() - started, busy_s() - busy_before
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = "\n".join(log.read_text().splitlines()[-40:])
        raise RuntimeError(f"exit code {process.returncode}: {' '.join(command)}\n{last}")
    unit = 1024 if sys.platform == "linux" else 1024**2  # ru_maxrss is in KiB on Linux, in bytes on macOS
    cpu_s = usage.ru_utime + usage.ru_stime
    return Cost(wall_s, cpu_s, usage.ru_maxrss / unit, max(busy - cpu_s, 0.0))


def busy_s() -> float:
    """CPU seconds that all processes have used since the machine started; NaN where /proc does not tell."""
    try:
        user, nice, system, _, _, *others = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    except OSError:
        return math.nan
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")


def setting(benchmark: str, libraries: Sequence[str]) -> dict[str, str]:
    """The machine, the versions and the command.

    Args:
        benchmark: Its module's name, below `benchmarks`.
        libraries: Packages whose versions are listed.
    """
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    return {
        "machine": f"{cpu_model()}, {os.cpu_count()} cores, {memory_gib:.1f} GiB, load {os.getloadavg()[0]:.1f}",
        "versions": f"python {platform.python_version()}, {versions}",
        "command": " ".join([f"python -m benchmarks.{benchmark}", *sys.argv[1:]]),
    }


def print_setting(benchmark: str, libraries: Sequence[str]) -> None:
    """Print the same, a line each."""
    for name, text in setting(benchmark, libraries).items():
        print(f"{name:10}{text}", flush=True)


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
