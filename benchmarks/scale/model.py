"""What the tables say of sizes that were not measured: CPU seconds of a step = a + b * million rows, by least squares.

    python -m benchmarks.scale model FILE... [--rows 1_000_000_000]

Each file is one that `rows --save` has written. Nothing is assumed of steps of which fewer than two sizes are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fit:
    """A line through the measurements of a step.

    Args:
        fixed_s: Seconds whatever the rows.
        s_a_million: Further seconds for each million rows.
        error_s: The greatest difference to a measurement.
        points: How many there are.
    """

    fixed_s: float
    s_a_million: float
    error_s: float
    points: int

    def at(self, rows: int) -> float:
        """Seconds for so many rows."""
        return self.fixed_s + self.s_a_million * rows / 1e6


def fits(measured: Iterable[Mapping[str, Any]]) -> dict[str, Fit]:
    """Step -> its line.

    Args:
        measured: What `rows.measure` returned, for different numbers of rows.
    """
    import numpy as np

    points: dict[str, list[tuple[float, float]]] = {}
    for one in measured:
        for step in one["steps"]:
            points.setdefault(step["step"], []).append((one["rows"] / 1e6, step["cpu_s"]))
    found = {}
    for step, of_step in points.items():
        millions, seconds = np.array(of_step).T
        if len(set(millions)) > 1:
            slope, fixed = np.polyfit(millions, seconds, 1)
            error = float(np.abs(fixed + slope * millions - seconds).max())
            found[step] = Fit(float(fixed), float(slope), error, len(of_step))
    return found


def report(found: Mapping[str, Fit], rows: int) -> None:
    """Print the lines, and what they say of so many rows."""
    print(f"\n| step | fixed, s | for each million rows, s | error, s | sizes | predicted for {rows:,} rows, h |")
    print("|---|---|---|---|---|---|")
    for step, fit in found.items():
        print(
            f"| {step} | {fit.fixed_s:,.1f} | {fit.s_a_million:.2f} | {fit.error_s:,.1f} | {fit.points} | "
            f"{fit.at(rows) / 3600:,.2f} |"
        )
