"""Requests for runs without a result so far, as a sensor remembers them.

Dagster can lose a run without a word: its process is killed twice, its retry is missed, its queue is emptied. So a
sensor keeps what it has requested until the lake shows the result, and requests it again, under a new key, where
there is none. What counts as the result is the sensor's business.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

WAIT_S = 300  # before the first repeat; twice as long before each further one
LONGEST_S = 86_400


@dataclass(frozen=True)
class Request:
    """The newest request for one thing, such as a batch.

    Args:
        at: When, in seconds since 1970.
        times: Which request it is.
    """

    at: float
    times: int = 1

    def is_due(self, now: float) -> bool:
        """Has it been waited for long enough? A clock that was set back must not make it wait for ever."""
        return not 0 <= now - self.at < min(WAIT_S * 2 ** (self.times - 1), LONGEST_S)


Requests = dict[str, Request]


def now() -> float:
    """This moment, in seconds since 1970."""
    return time.time()


def due(requests: Mapping[str, Request]) -> Requests:
    """Those whose result should be there by now."""
    moment = now()
    return {name: one for name, one in requests.items() if one.is_due(moment)}


def repeated(names: Iterable[str], before: Mapping[str, Request]) -> Requests:
    """Requests that are made at this moment."""
    moment = now()
    return {name: Request(moment, before[name].times + 1 if name in before else 1) for name in names}


def run_key(key: str, names: Iterable[str], before: Mapping[str, Request]) -> str:
    """A key that Dagster has not seen: it runs none twice. A tick that is cut off makes the same key again."""
    moments = [before[name].at for name in names if name in before]
    return f"{key}-{max(moments):.3f}" if moments else key


def why(names: Iterable[str], before: Mapping[str, Request]) -> dict[str, str]:
    """The tag that says why a run is requested again; none where it is the first request."""
    repeats = [before[name] for name in names if name in before]
    if not repeats:
        return {}
    newest = max(repeats, key=lambda one: one.at)
    moment = dt.datetime.fromtimestamp(newest.at, dt.UTC)
    text = f"the lake shows no result of request {newest.times}, made at {moment:%Y-%m-%d %H:%M:%S} UTC"
    return {"ml_assets/why": text}


def named(batches: Sequence[str]) -> str:
    """Batches for a log line: the first twenty, and how many more."""
    more = f" and {len(batches) - 20:,} more" if len(batches) > 20 else ""
    return ", ".join(batches[:20]) + more


def as_cells(requests: Mapping[str, Request]) -> dict[str, list[float]]:
    """As JSON; `from_cells` reads it."""
    return {name: [one.at, one.times] for name, one in requests.items()}


def from_cells(cells: Mapping[str, list[float]] | list[str]) -> Requests:
    """Requests from what `as_cells` gave, or from the names that earlier versions kept: those are due."""
    if isinstance(cells, list):
        return {name: Request(0.0) for name in cells}
    return {name: Request(float(at), int(times)) for name, (at, times) in cells.items()}
