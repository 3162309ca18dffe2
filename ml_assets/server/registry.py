"""What the server answers with: pipelines, the versions of each, and how requests are divided among them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from ml_assets.errors import did_you_mean
from ml_assets.ml import routing
from ml_assets.server import explain, lanes, problems
from ml_assets.server.keeping import RecordWriter
from ml_assets.server.lanes import QUICK_ROWS, Job, Lane, Seen, Turns
from ml_assets.server.prediction_log import LogRules
from ml_assets.server.problems import Problem
from ml_assets.server.requests import PredictResponse, Reason
from ml_assets.server.scorer import Scored, Scorer

CHAMPION = routing.CHAMPION


@dataclass(frozen=True)
class Settings:
    """How a pipeline is served.

    Args:
        routes: Role -> share of the rows.
        shadow: Versions (or challenger) that score every request, without anybody seeing it.
        key: Columns of the pipeline's key.
        outcomes: Outcome column -> type word.
        constraints: What becomes of broken ones; by default what the release says.
        log: What is kept of requests; None: nothing.
        deadline_s: Seconds after which a request is given up.
    """

    routes: Mapping[Any, float] = field(default_factory=lambda: {CHAMPION: 1.0})
    shadow: Sequence[str] = ()
    key: Sequence[str] = ()
    outcomes: Mapping[str, str] | None = None
    constraints: Literal["warn", "refuse"] | None = None
    log: LogRules | None = None
    deadline_s: float = 10.0


@dataclass(frozen=True)
class Versions:
    """What a pipeline answers with at a time; swapped as a whole.

    Args:
        roles: champion, and challenger where it is routed -> its release.
        shadows: Those that score without being seen.
        lookups: Lookup or reference -> how fresh it is in the lake.
    """

    roles: Mapping[str, Scorer]
    shadows: Sequence[Scorer] = ()
    lookups: Mapping[str, Any] = field(default_factory=dict)

    @property
    def champion(self) -> Scorer:
        """The release whose schema requests follow."""
        return self.roles[CHAMPION]

    @property
    def loaded(self) -> dict[str, Scorer]:
        """Version -> its release."""
        return {one.facts.version: one for one in (*self.roles.values(), *self.shadows)}


class Pipeline:
    """A pipeline that is served.

    Args:
        name: Its name.
        settings: How it is served.
        reload: Looks for its versions at once; None where one release is served for good.
        keeper: Writes the prediction log, where there is one.
        seen: Called on the event loop with all that was scored.
        dropped: Called with the number of rows that no shadow scores, because too many wait.
    """

    def __init__(
        self,
        name: str,
        settings: Settings | None = None,
        reload: Callable[[], Awaitable[None]] | None = None,
        keeper: RecordWriter | None = None,
        seen: Seen = lanes.nothing_done,
        dropped: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.name, self.settings, self.reload = name, settings or Settings(), reload
        self.versions: Versions | None = None
        self.keeper = keeper
        self._keep, self._seen, self._dropped = keeper or lanes.nothing_done, seen, dropped
        self.lanes = {lane: Lane(lane, self._keep, seen) for lane in lanes.MAX_WAITING}
        self.turns = Turns(self._keep, seen)

    def swap(self, versions: Versions) -> None:
        """Answer with these from now on; those that are not among them are freed after their last request."""
        before = self.versions
        self.versions = versions
        if before is not None:
            stay = set(map(id, versions.loaded.values()))
            for old in {id(one): one for one in (*before.roles.values(), *before.shadows)}.values():
                if id(old) not in stay:
                    old.retire()

    def need(self) -> Versions:
        """What answers now.

        Raises:
            Problem: Nothing is loaded yet.
        """
        if self.versions is None:
            raise Problem(503, "not-ready", f"No version of {self.name} is loaded yet.")
        return self.versions

    def version(self, number: str) -> Scorer:
        """A version that is loaded.

        Raises:
            Problem: It is not.
        """
        loaded = self.need().loaded
        if number not in loaded:
            raise Problem(
                404, "not-found", f"{self.name} has no version {number!r} here. {did_you_mean(number, loaded)}"
            )
        return loaded[number]

    async def predict(self, body: bytes | bytearray, number: str | None = None, explained: int = 0) -> PredictResponse:
        """Score a request by the versions that its rows fall to, or by one.

        Args:
            body: The request.
            number: A version that scores all rows.
            explained: Features of each row that are said to move its score.

        Raises:
            Problem: It is not answered.
        """
        started = time.perf_counter(), time.time()
        versions = self.need()
        scorer = versions.champion if number is None else self.version(number)
        request = _decoded(scorer, body)
        name = request.id or new_id()
        jobs = self._divided(versions, request, name) if number is None else [Job(scorer, request.rows, name, number)]
        for job in jobs:
            job.started = started
            job.refuses = (self.settings.constraints or job.scorer.facts.broken) == "refuse"
        if explained:
            _refuse_many_reasons(jobs)
        await self._score(jobs)
        response = self._response(name, len(request.rows), jobs)
        if explained:
            response.explanations = await _explanations(jobs, len(request.rows), explained)
        if number is None:
            self._shadow(versions, request, name)
        return response

    def _divided(self, versions: Versions, request: Any, name: str) -> list[Job]:
        """The rows by the version that they fall to."""
        routes = {role: share for role, share in self.settings.routes.items() if role in versions.roles}
        if set(routes) <= {CHAMPION}:
            return [Job(versions.champion, request.rows, name, CHAMPION, keys=request.keys)]
        fallen: dict[str, list[int]] = {}
        for position, values in enumerate(self._keys(versions.champion, request, name)):
            fallen.setdefault(routing.choose(routes, routing.share_of(self.name, values)), []).append(position)
        if len(fallen) == 1:
            role = next(iter(fallen))
            return [Job(versions.roles[role], request.rows, name, role, keys=request.keys)]
        return [
            Job(
                versions.roles[role],
                [request.rows[position] for position in positions],
                name,
                role,
                positions,
                request.keys and [request.keys[position] for position in positions],
            )
            for role, positions in fallen.items()
        ]

    def _keys(self, scorer: Scorer, request: Any, name: str) -> list[Sequence[Any]]:
        """By what each row is routed: what the request says, the key's values, or the row itself."""
        if request.keys is not None:
            return [key if isinstance(key, list) else [key] for key in request.keys]
        there = list(scorer.schema.columns)
        fields = [f"c{there.index(column)}" for column in routing.key_columns(self.settings.key, there)]
        if not fields:
            return [(name, position) for position in range(len(request.rows))]
        return [[getattr(row, one) for one in fields] for row in request.rows]

    async def _score(self, jobs: Sequence[Job]) -> None:
        places = [self._place(job) for job in jobs]
        is_quick = all(place is self.turns for place in places)
        try:
            for place, job in zip(places, jobs, strict=True):
                place.put(job)
            async with contextlib.nullcontext() if is_quick else asyncio.timeout(self.settings.deadline_s):
                for job in jobs:
                    await job.answered()
        except TimeoutError:
            raise Problem(
                503, "too-late", f"The prediction took longer than {self.settings.deadline_s:g} s; try again."
            ) from None
        finally:
            for job in jobs:
                job.is_cancelled = True  # of one that is still waiting: nobody asks for it any more
        for job in jobs:
            if job.error is not None:
                raise _at_positions(job)

    def _place(self, job: Job) -> Lane | Turns:
        """Where a job is scored."""
        if len(job.rows) > QUICK_ROWS:
            return self.lanes["slow"]
        return self.turns if job.scorer.inline else self.lanes["quick"]

    def _response(self, name: str, count: int, jobs: Sequence[Job]) -> PredictResponse:
        scorer = jobs[0].scorer
        if len(jobs) == 1:
            scored = _of(jobs[0])
            versions = [scorer.facts.version] * count
        else:
            scored, versions = _merged(jobs, count)
        is_one = len(jobs) == 1
        return PredictResponse(
            id=name,
            pipeline=self.name,
            versions=versions,
            scores=scored.scores,
            decisions=scored.decisions,
            version=scorer.facts.version if is_one else None,
            threshold=scorer.schema.threshold if is_one else None,
            classes=scorer.schema.classes if scored.probabilities else None,
            probabilities=scored.probabilities,
            warnings=scored.warnings or None,
        )

    def _shadow(self, versions: Versions, request: Any, name: str) -> None:
        """Let the shadows score, too, when there is time; under pressure they are left out."""
        for scorer in versions.shadows:
            if scorer.is_retired:
                continue
            try:
                self.lanes["shadow"].put(Job(scorer, request.rows, name, "shadow", keys=request.keys))
            except Problem:
                self._dropped(len(request.rows))

    def close(self) -> None:
        """End the lanes' threads."""
        for lane in self.lanes.values():
            lane.close()


class Registry:
    """The pipelines of a server.

    Args:
        pipelines: All of them.
        refused: Those that are not served, as their YAML is wrong: name -> why.
    """

    def __init__(self, pipelines: Sequence[Pipeline], refused: Mapping[str, str] | None = None) -> None:
        self.pipelines, self.refused = {one.name: one for one in pipelines}, refused or {}

    def need(self, name: str) -> Pipeline:
        """A pipeline by its name.

        Raises:
            Problem: There is none, or it is not served.
        """
        if name in self.refused:
            raise Problem(503, "not-ready", f"{name} is not served: {self.refused[name]}")
        if name not in self.pipelines:
            raise Problem(404, "not-found", f"There is no pipeline {name!r} here. {did_you_mean(name, self.pipelines)}")
        return self.pipelines[name]

    @property
    def is_ready(self) -> bool:
        """Is a version of each pipeline loaded?"""
        return all(one.versions is not None for one in self.pipelines.values())

    def close(self) -> None:
        """End all threads."""
        for one in self.pipelines.values():
            one.close()


_prefix, _numbers = secrets.token_hex(6), itertools.count(1)


def new_id() -> str:
    """An id that no other request has."""
    return f"{_prefix}-{next(_numbers):x}"


def _decoded(scorer: Scorer, body: bytes | bytearray) -> Any:
    try:
        request = scorer.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise problems.of(error) from None
    if request.keys is not None and len(request.keys) != len(request.rows):
        found = f"There are {len(request.keys):,} keys for {len(request.rows):,} rows"
        raise Problem(422, "invalid-request", found, [{"field": "keys", "detail": found}])
    return request


def _refuse_many_reasons(jobs: Sequence[Job]) -> None:
    for job in jobs:
        most = explain.most_rows(job.scorer)
        if len(job.rows) > most:
            version = job.scorer.facts.version
            found = f"Version {version} can explain {most:,} rows of a request, not {len(job.rows):,}"
            raise Problem(422, "invalid-request", found, [{"field": "explain", "detail": found}])


async def _explanations(jobs: Sequence[Job], count: int, most: int) -> list[list[Reason]]:
    found: list[list[Reason]] = [[] for _ in range(count)]
    for job in jobs:
        features, rows = _of(job).features, len(job.rows)
        reasons = await asyncio.to_thread(explain.explain, job.scorer, features, rows, most)
        for position, one in zip(job.positions or range(count), reasons, strict=True):
            found[position] = one
    return found


def _of(job: Job) -> Scored:
    if job.scored is None:
        raise RuntimeError("a job without an error was scored")
    return job.scored


def _at_positions(job: Job) -> Problem:
    """The error of a job, about the rows of the request."""
    problem = problems.of(job.error or RuntimeError("a job was not scored"))
    if job.positions is not None:
        problem.errors = [{**one, "row": job.positions[one["row"]]} if "row" in one else one for one in problem.errors]
    return problem


def _merged(jobs: Sequence[Job], count: int) -> tuple[Scored, list[str]]:
    """What several versions said of their rows, in the order of the request."""
    order = sorted(
        (position, number, row)
        for number, job in enumerate(jobs)
        for row, position in enumerate(job.positions or range(count))
    )
    found = [_of(job) for job in jobs]
    picked = [(found[number], row) for _, number, row in order]
    warnings = [
        type(one)((job.positions or range(count))[one.row], one.field, one.rule)
        for job in jobs
        for one in _of(job).warnings
    ]
    merged = Scored(
        {},
        [one.scores[row] for one, row in picked],
        [one.decisions[row] for one, row in picked],
        [one.probabilities[row] for one, row in picked if one.probabilities] or None,
        sorted(warnings, key=lambda one: one.row),
    )
    return merged, [jobs[number].scorer.facts.version for _, number, _ in order]
