"""Rows are scored off the event loop, in lanes: requests of few rows in one, all others in another. Only where
features cost microseconds, the event loop scores requests of few rows itself, in turns.

What waits is scored together, where the features of a row depend on that row alone. A request of many rows is
scored in chunks. So a huge or slow request holds up neither the event loop nor requests of few rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_assets.server.problems import Problem, broken
from ml_assets.server.requests import RowRefused
from ml_assets.server.scorer import Engine, Scored, Scorer

QUICK_ROWS = 32  # of a request that goes through the quick lane
TOGETHER_ROWS = 256  # that are scored at once in the quick lane
TURN_ROWS, TURN_S = 64, 0.05  # that the event loop scores at once, and how long that may take
CHUNK_ROWS = 100  # of a request in the slow lane
MAX_WAITING = {"quick": 512, "slow": 16, "shadow": 256}  # jobs of a pipeline
BUSY = "Too many requests are waiting; try again."


@dataclass(eq=False)
class Job:
    """Rows of one request for one version.

    Args:
        scorer: The version.
        rows: Decoded.
        id: Of the request.
        role: champion, challenger, shadow or the version's number.
        positions: Of the rows in the request; None where it is all of them.
        keys: By what each row is routed, where the request says so.
        started: When the request arrived (time.perf_counter), and the same in UTC seconds.
        scored: What came of it; or `error`.
        refuses: Are values that break a constraint an error?
        is_lost: It is missing in the prediction log.
        is_cancelled: Nobody waits for it any more.
        done: Set by the lane.
    """

    scorer: Scorer
    rows: Sequence[Any]
    id: str
    role: str
    positions: list[int] | None = None
    keys: list[Any] | None = None
    started: tuple[float, float] = field(default_factory=lambda: (time.perf_counter(), time.time()))
    scored: Scored | None = None
    error: Exception | None = None
    refuses: bool = False
    is_lost: bool = False
    is_cancelled: bool = False
    done: asyncio.Future[None] | None = None

    async def answered(self) -> None:
        """Wait for the lane that it was put into."""
        if self.done is not None:
            await self.done


Seen = Callable[[Sequence[Job]], None]


def nothing_done(jobs: Sequence[Job]) -> None:
    """Nothing is kept of what was answered, or counted."""


class Lane:
    """A thread that scores what waits.

    Args:
        name: quick, slow or shadow.
        keep: Called in the thread with all that was scored, before it is answered; may set the error of jobs.
        seen: The same on the event loop.
    """

    def __init__(self, name: str, keep: Seen = nothing_done, seen: Seen = nothing_done) -> None:
        self.name, self.waiting = name, 0
        self._keep, self._seen, self._jobs = keep, seen, queue.SimpleQueue[Job | None]()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"lane-{name}")
        self._thread.start()

    def put(self, job: Job) -> None:
        """Let a job be scored; its future `done` tells when.

        Raises:
            Problem: Too many wait.
        """
        if self.waiting >= MAX_WAITING[self.name]:
            raise Problem(429, "too-busy", BUSY)
        self.waiting += 1
        job.scorer.hold()
        job.done = self._loop.create_future()
        self._jobs.put(job)

    def close(self) -> None:
        """End the thread after what waits."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, is_last = self._taken(first)
            live = [job for job in jobs if not job.is_cancelled]
            score_all(live, self.name == "quick")
            self._keep([job for job in live if not job.is_cancelled])
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._deliver, jobs)
            if is_last:
                return

    def _taken(self, first: Job) -> tuple[list[Job], bool]:
        """All that waits, up to a number of rows."""
        jobs, count = [first], len(first.rows)
        with contextlib.suppress(queue.Empty):
            while self.name != "slow" and count < TOGETHER_ROWS:
                job = self._jobs.get_nowait()
                if job is None:
                    return jobs, True
                jobs.append(job)
                count += len(job.rows)
        return jobs, False

    def _deliver(self, jobs: Sequence[Job]) -> None:
        self._seen(jobs)
        self.waiting -= len(jobs)
        _deliver(jobs)


class Turns:
    """The event loop scores what arrived since it was here last; meant for features that cost microseconds.

    Args:
        keep: Called with all that was scored, before it is answered; may set the error of jobs.
        seen: Called with the same.
    """

    def __init__(self, keep: Seen = nothing_done, seen: Seen = nothing_done) -> None:
        self._keep, self._seen, self._jobs = keep, seen, deque[Job]()
        self._loop = asyncio.get_running_loop()

    def put(self, job: Job) -> None:
        """Let a job be scored; its future `done` tells when.

        Raises:
            Problem: Too many wait.
        """
        if len(self._jobs) >= MAX_WAITING["quick"]:
            raise Problem(429, "too-busy", BUSY)
        if not self._jobs:
            self._loop.call_soon(self._turn)
        job.scorer.hold()
        job.done = self._loop.create_future()
        self._jobs.append(job)

    def _turn(self) -> None:
        jobs, count = [], 0
        while self._jobs and count < TURN_ROWS:
            jobs.append(self._jobs.popleft())
            count += len(jobs[-1].rows)
        if self._jobs:  # after what has arrived meanwhile
            self._loop.call_soon(self._turn)
        try:
            live = [job for job in jobs if not job.is_cancelled]
            before = time.thread_time()
            score_all(live, is_quick=True)
            if time.thread_time() - before > TURN_S:  # not what "inline" promises: from now on in lanes
                for job in live:
                    job.scorer.inline = False
            self._keep(live)
            self._seen(live)
        finally:
            _deliver(jobs)


def _deliver(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.scorer.let_go()
        if job.done is not None and not job.done.done():
            job.done.set_result(None)


def score_all(jobs: Sequence[Job], is_quick: bool) -> None:
    """Score jobs, those of one version together where its features allow it."""
    for scorer in {id(job.scorer): job.scorer for job in jobs}.values():
        mine = [job for job in jobs if job.scorer is scorer]
        engine = scorer.quick if is_quick else scorer.slow
        if not (scorer.row_wise and len(mine) > 1 and _scored_together(scorer, engine, mine)):
            for job in mine:
                _score(job, engine)
    for job in jobs:
        if job.refuses and job.scored is not None and job.scored.warnings:
            job.error = broken(job.scored.warnings)


def _scored_together(scorer: Scorer, engine: Engine, jobs: Sequence[Job]) -> bool:
    """Score jobs in one go; where that fails, each is scored by itself, so that one's error is not another's."""
    try:
        scored = scorer.score([row for job in jobs for row in job.rows], engine)
    except Exception:
        return False
    start = 0
    for job in jobs:
        job.scored = scored.part(start, start + len(job.rows))
        start += len(job.rows)
    return True


def _score(job: Job, engine: Engine) -> None:
    try:
        parts = [_chunk(job, engine, start, end) for start, end in _chunks(job)]
        job.scored = parts[0] if len(parts) == 1 else _joined(parts)
    except Exception as error:
        job.error = error


def _chunks(job: Job) -> Iterator[tuple[int, int]]:
    size = CHUNK_ROWS if job.scorer.row_wise else len(job.rows)
    for start in range(0, len(job.rows), size):
        yield start, min(start + size, len(job.rows))


def _chunk(job: Job, engine: Engine, start: int, end: int) -> Scored:
    if job.is_cancelled:
        raise Problem(503, "too-late", "Nobody waits for this prediction any more.")
    try:
        return job.scorer.score(job.rows[start:end], engine)
    except RowRefused as refused:
        raise RowRefused(refused.why, None if refused.row is None else refused.row + start, refused.field) from refused


def _joined(parts: Sequence[Scored]) -> Scored:
    probabilities = [one for part in parts for one in part.probabilities or []]
    warnings, start = [], 0
    for part in parts:
        warnings += [type(one)(one.row + start, one.field, one.rule) for one in part.warnings]
        start += len(part.scores)
    return Scored(
        {name: [value for part in parts for value in part.features[name]] for name in parts[0].features},
        [score for part in parts for score in part.scores],
        [decision for part in parts for decision in part.decisions],
        probabilities or None,
        warnings,
    )
