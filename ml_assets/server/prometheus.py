"""Counters in memory that all workers of a server share, and their text for Prometheus.

Each worker counts in a part of its own, so that none waits for another; whoever is asked sums over the parts. A worker
that takes the place of a killed one goes on with its counts.
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

SERIES, NAMES = 4096, 2**20  # of a worker: numbers, and bytes of their names
HEAD = 8
PART = HEAD + NAMES + 8 * SERIES
LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TYPES = {
    "ml_assets_requests_total": ("counter", "Requests by pipeline, route and status code."),
    "ml_assets_request_seconds": ("histogram", "Time from a request's arrival to its response."),
    "ml_assets_rows_total": ("counter", "Rows that were scored, by version."),
    "ml_assets_score": ("histogram", "Scores, by version."),
    "ml_assets_warnings_total": ("counter", "Values that break a constraint of their column."),
    "ml_assets_shadow_dropped_total": ("counter", "Rows that no shadow scored, because too many were waiting."),
    "ml_assets_not_logged_total": ("counter", "Records that could not be written to the prediction log."),
    "ml_assets_swaps_total": ("counter", "Times that a pipeline went over to other versions or lookups."),
    "ml_assets_load_failures_total": ("counter", "Times that a release or lookups could not be loaded."),
    "ml_assets_waiting": ("gauge", "Requests that are waiting or being scored, by lane."),
    "ml_assets_version_info": ("gauge", "Versions that are loaded, by role."),
    "ml_assets_lookup_age_seconds": ("gauge", "Age of a lookup or reference."),
}


def escaped(value: str) -> str:
    """The value of a label."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def labelled(name: str, **labels: str) -> str:
    """A series as Prometheus writes it."""
    pairs = ",".join(f'{label}="{escaped(value)}"' for label, value in labels.items())
    return f"{name}{{{pairs}}}"


class Metrics:
    """The counters of one worker, beside those of the others.

    Args:
        memory: What all workers share; `shared` makes it.
        part: Number of this worker.
    """

    def __init__(self, memory: mmap.mmap, part: int = 0) -> None:
        self._memory, self._part = memory, part
        self._start = part * PART
        self._values = memoryview(memory)[self._start + HEAD + NAMES : self._start + PART].cast("d")
        self._places = {name: place for place, (name, _) in enumerate(_series(memory, part))}
        self._used = sum(len(name.encode()) + 1 for name in self._places)
        self._histograms: dict[str, Histogram] = {}

    def add(self, series: str, number: float = 1) -> None:
        """Count; a series that has no place any more is not counted."""
        place = self._places.get(series)
        if place is None:
            place = self._new(series)
            if place is None:
                return
        self._values[place] += number

    def histogram(self, name: str, bounds: Sequence[float], **labels: str) -> Histogram:
        """A histogram; the same one each time."""
        series = labelled(name, **labels)
        if series not in self._histograms:
            self._histograms[series] = Histogram(self, name, bounds, labels)
        return self._histograms[series]

    def _new(self, series: str) -> int | None:
        text = series.encode() + b"\n"
        if len(self._places) >= SERIES or self._used + len(text) > NAMES:
            return None
        start = self._start + HEAD + self._used
        self._memory[start : start + len(text)] = text
        self._used += len(text)
        struct.pack_into("<q", self._memory, self._start, self._used)  # only now it is there for others
        self._places[series] = len(self._places)
        return self._places[series]

    def text(self, gauges: Iterable[tuple[str, float]] = ()) -> str:
        """All that the workers counted, and gauges of this one."""
        total: dict[str, float] = defaultdict(float)
        for part in range(len(self._memory) // PART):
            for series, value in _series(self._memory, part):
                total[series] += value
        families: dict[str, list[str]] = {}
        for series, value in [*_cumulated(total), *gauges]:
            family = series.partition("{")[0]
            for ending in ("_bucket", "_sum", "_count"):
                family = family.removesuffix(ending) if family.removesuffix(ending) in TYPES else family
            families.setdefault(family, []).append(f"{series} {value:.17g}")
        lines = []
        for family, found in families.items():
            kind, help_text = TYPES[family]
            lines += [f"# HELP {family} {help_text}", f"# TYPE {family} {kind}", *found]
        return "\n".join([*lines, ""])


class Histogram:
    """Counts by upper bound; made by `Metrics.histogram`."""

    def __init__(self, metrics: Metrics, name: str, bounds: Sequence[float], labels: dict[str, str]) -> None:
        self._metrics, self._bounds = metrics, list(bounds)
        ends = [f"{bound:g}" for bound in bounds] + ["+Inf"]
        self._buckets = [labelled(f"{name}_bucket", **labels, le=end) for end in ends]
        self._sum, self._count = labelled(f"{name}_sum", **labels), labelled(f"{name}_count", **labels)
        for series in (*self._buckets, self._sum, self._count):
            metrics.add(series, 0)

    def see(self, value: float) -> None:
        """Count a value in its bucket; those that are wider have it in the text only."""
        self._metrics.add(self._buckets[bisect_left(self._bounds, value)])
        self._metrics.add(self._sum, value)
        self._metrics.add(self._count)


def shared(workers: int) -> mmap.mmap:
    """Memory for the counters of workers that are forked from this process."""
    return mmap.mmap(-1, PART * workers)


def _cumulated(total: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Every bucket with the counts of those before it; the buckets of a histogram follow each other."""
    histogram, count = "", 0.0
    for series, value in total.items():
        if "_bucket{" not in series:
            yield series, value
            continue
        before, histogram = histogram, series.rpartition("le=")[0]
        count = value + (count if histogram == before else 0.0)
        yield series, count


def _series(memory: mmap.mmap, part: int) -> Iterator[tuple[str, float]]:
    start = part * PART
    (used,) = struct.unpack_from("<q", memory, start)
    names = memory[start + HEAD : start + HEAD + used].decode().splitlines()
    values = struct.unpack_from(f"={len(names)}d", memory, start + HEAD + NAMES)
    return zip(names, values, strict=True)
