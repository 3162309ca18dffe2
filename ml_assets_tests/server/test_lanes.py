"""Lanes and the division of requests, with releases that are made up: no model, no features, no process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ml_assets.ml import routing
from ml_assets.ml.bundle import Schema
from ml_assets.server import lanes
from ml_assets.server.lanes import Job
from ml_assets.server.problems import Problem
from ml_assets.server.registry import Pipeline, Settings, Versions
from ml_assets.server.requests import RowRefused, Warned, request_type
from ml_assets.server.scorer import Scored

SCHEMA = Schema("regression", "y", {"k": "integer", "x": "number"}, {"x": "number"}, [], None, "a.B")
REQUEST = request_type(SCHEMA, "p")


class Fake:
    """A release whose score is its `x` plus a number; x < 0 is refused, x > 100 breaks a constraint."""

    def __init__(self, version: str = "1.0.0", plus: float = 0.0, row_wise: bool = True) -> None:
        self.facts = SimpleNamespace(pipeline="p", version=version, broken="warn")
        self.schema, self.plus, self.row_wise, self.inline = SCHEMA, plus, row_wise, False
        self.quick, self.slow = "quick", "slow"
        self.calls: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.is_closed, self.is_retired, self.users = False, False, 0

    def decode(self, body: bytes) -> Any:
        return msgspec.json.decode(body, type=REQUEST)

    def score(self, rows: Sequence[Any], _engine: str) -> Scored:
        self.gate.wait(10)
        assert not self.is_closed
        self.calls.append(len(rows))
        values = [row.c1 for row in rows]
        if min(values) < 0:
            raise RowRefused("negative", values.index(min(values)), "x")
        warnings = [Warned(row, "x", "max: 100") for row, value in enumerate(values) if value > 100]
        scores = [value + self.plus for value in values]
        return Scored({"x": values}, scores, [str(score) for score in scores], None, warnings)

    def hold(self) -> None:
        self.users += 1

    def let_go(self) -> None:
        self.users -= 1
        self.is_closed = self.is_retired and not self.users

    def retire(self) -> None:
        self.is_retired = True
        self.is_closed = not self.users


def body(*values: float, **more: Any) -> bytes:
    return json.dumps({"rows": [{"k": number, "x": value} for number, value in enumerate(values)], **more}).encode()


@contextlib.asynccontextmanager
async def serving(roles: Mapping[str, Fake], *shadows: Fake, **settings: Any) -> AsyncIterator[Pipeline]:
    kept: list[Job] = []
    dropped: list[int] = []
    pipeline = Pipeline("p", Settings(**settings), keeper=kept.extend, dropped=dropped.append)  # type: ignore[arg-type]
    pipeline.kept, pipeline.dropped = kept, dropped  # type: ignore[attr-defined]
    pipeline.swap(Versions(roles, shadows))  # type: ignore[arg-type]
    try:
        yield pipeline
    finally:
        pipeline.close()


async def until(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def test_what_waits_is_scored_together_and_one_mistake_is_not_anothers() -> None:
    async def steps() -> None:
        fake = Fake()
        async with serving({"champion": fake}) as pipeline:
            fake.gate.clear()
            tasks = [asyncio.create_task(pipeline.predict(body(float(number)))) for number in range(20)]
            bad = asyncio.create_task(pipeline.predict(body(1.0, -1.0)))
            await until(lambda: pipeline.lanes["quick"].waiting == 21)
            fake.gate.set()
            answers = await asyncio.gather(*tasks)
            with pytest.raises(Problem) as caught:
                await bad
        assert [one.scores for one in answers] == [[float(number)] for number in range(20)]
        assert caught.value.errors == [{"row": 1, "field": "x", "detail": "negative"}]
        assert len(fake.calls) < 24  # one, all others together, which fails, and each of them by itself
        assert fake.users == 0

    asyncio.run(steps())


def test_requests_share_a_call_only_where_features_are_of_one_row() -> None:
    async def steps() -> None:
        for row_wise, calls in ((True, [1, 9]), (False, [1] * 10)):
            fake = Fake(row_wise=row_wise)
            async with serving({"champion": fake}) as pipeline:
                fake.gate.clear()
                tasks = [asyncio.create_task(pipeline.predict(body(1.0)))]
                await asyncio.sleep(0.05)
                tasks += [asyncio.create_task(pipeline.predict(body(1.0))) for _ in range(9)]
                await until(lambda lane=pipeline.lanes["quick"]: lane.waiting == 10)
                fake.gate.set()
                await asyncio.gather(*tasks)
            assert fake.calls == calls

    asyncio.run(steps())


def test_a_request_of_many_rows_goes_in_chunks_and_holds_nobody_up() -> None:
    async def steps() -> None:
        fake = Fake()
        async with serving({"champion": fake}) as pipeline:
            answer = await pipeline.predict(body(*map(float, range(250))))
            assert (fake.calls, answer.scores[-1]) == ([100, 100, 50], 249.0)
            with pytest.raises(Problem) as caught:
                await pipeline.predict(body(*[1.0] * 140, -1.0, *[1.0] * 60))
            assert caught.value.errors[0]["row"] == 140
            slow = pipeline.lanes["slow"]
            fake.gate.clear()
            big = asyncio.create_task(pipeline.predict(body(*[1.0] * 50)))
            await until(lambda: slow.waiting == 1)
            fake.gate = threading.Event()  # of later calls
            fake.gate.set()
            assert (await pipeline.predict(body(3.0))).scores == [3.0]
            assert not big.done()
            big.cancel()

    asyncio.run(steps())


def test_too_many_and_too_slow_are_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps() -> None:
        monkeypatch.setitem(lanes.MAX_WAITING, "quick", 2)
        fake = Fake()
        async with serving({"champion": fake}, deadline_s=0.1) as pipeline:
            fake.gate.clear()
            tasks = [asyncio.create_task(pipeline.predict(body(1.0))) for _ in range(3)]
            found = await asyncio.gather(*tasks, return_exceptions=True)
            fake.gate.set()
            await until(lambda: pipeline.lanes["quick"].waiting == 0)
            assert (await pipeline.predict(body(1.0))).scores == [1.0]
        problems = [one for one in found if isinstance(one, Problem)]
        assert sorted(one.status for one in problems) == [429, 503, 503]
        assert {one.headers["Retry-After"] for one in problems} == {"1"}
        assert sum(fake.calls) < 4  # nobody waited for the second any more

    asyncio.run(steps())


def test_rows_are_divided_by_key_and_come_back_in_order() -> None:
    async def steps() -> None:
        roles = {"champion": Fake("1.0.0"), "challenger": Fake("1.1.0", plus=1000)}
        async with serving(roles, routes={"champion": 0.5, "challenger": 0.5}, key=("k",)) as pipeline:
            answer = await pipeline.predict(body(*map(float, range(30))))
            expected = [
                routing.choose({"champion": 0.5, "challenger": 0.5}, routing.share_of("p", [k])) for k in range(30)
            ]
            assert answer.versions == [roles[role].facts.version for role in expected]
            assert answer.scores == [row + roles[role].plus for row, role in enumerate(expected)]
            assert answer.version is None
            keyed = await pipeline.predict(body(*[1.0] * 30, keys=["7"] * 30))
            assert keyed.version in ("1.0.0", "1.1.0")
            with pytest.raises(Problem, match="2 keys for 1 rows"):
                await pipeline.predict(body(1.0, keys=[1, 2]))
            with pytest.raises(Problem) as caught:
                await pipeline.predict(body(*map(float, range(20)), -1.0, *map(float, range(9))))
            assert caught.value.errors[0]["row"] == 20
            only = await pipeline.predict(body(1.0, 2.0), "1.1.0")
            assert only.scores == [1001.0, 1002.0]
            with pytest.raises(Problem, match=r"no version '1\.1\.1'"):
                await pipeline.predict(body(1.0), "1.1.1")
        positions = [job.positions for job in pipeline.kept if job.positions]  # type: ignore[attr-defined]
        assert sorted(positions[0] + positions[1]) == list(range(30))

    asyncio.run(steps())


def test_shadows_score_unseen_and_never_hold_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps() -> None:
        monkeypatch.setitem(lanes.MAX_WAITING, "shadow", 1)
        shadow = Fake("0.9.0", plus=5)
        shadow.gate.clear()
        async with serving({"champion": Fake()}, shadow) as pipeline:
            assert (await pipeline.predict(body(1.0))).version == "1.0.0"
            assert (await pipeline.predict(body(2.0))).version == "1.0.0"
            assert pipeline.dropped == [1]  # type: ignore[attr-defined]
            shadow.gate.set()
            kept: list[Job] = pipeline.kept  # type: ignore[attr-defined]
            await until(lambda: any(job.role == "shadow" for job in kept))
        assert [(job.id, job.scored and job.scored.scores) for job in kept if job.role == "shadow"] == [
            (kept[0].id, [6.0])
        ]

    asyncio.run(steps())


def test_an_old_version_is_freed_after_its_last_request() -> None:
    async def steps() -> None:
        old, new = Fake("1.0.0"), Fake("1.0.1", plus=1)
        async with serving({"champion": old}) as pipeline:
            old.gate.clear()
            first = asyncio.create_task(pipeline.predict(body(1.0)))
            await until(lambda: pipeline.lanes["quick"].waiting == 1)
            pipeline.swap(Versions({"champion": new}))  # type: ignore[dict-item]
            assert not old.is_closed
            old.gate.set()
            assert (await first).version == "1.0.0"
            await until(lambda: old.is_closed)
            assert (await pipeline.predict(body(1.0))).version == "1.0.1"
            assert not new.is_closed

    asyncio.run(steps())


def test_broken_constraints_are_named_or_refused() -> None:
    async def steps() -> None:
        async with serving({"champion": Fake()}) as pipeline:
            answer = await pipeline.predict(body(1.0, 101.0))
            assert answer.warnings == [Warned(1, "x", "max: 100")]
        async with serving({"champion": Fake()}, constraints="refuse") as pipeline:
            with pytest.raises(Problem, match=r"\$\.rows\[1\]\.x breaks max: 100") as caught:
                await pipeline.predict(body(1.0, 101.0))
            assert caught.value.status == 422
            assert (await pipeline.predict(body(1.0))).warnings is None

    asyncio.run(steps())


def inline(version: str = "1.0.0", plus: float = 0.0) -> Fake:
    """A release that the event loop scores itself."""
    fake = Fake(version, plus)
    fake.inline = True
    return fake


def test_what_arrives_in_one_turn_of_the_event_loop_is_scored_together() -> None:
    async def scored() -> None:
        fake = inline()
        async with serving({"champion": fake}) as pipeline:
            found = await asyncio.gather(*(pipeline.predict(body(float(one), one + 0.5)) for one in range(20)))
            assert [one.scores for one in found] == [[float(one), one + 0.5] for one in range(20)]
            assert fake.calls == [40]
            assert len(pipeline.kept) == 20  # type: ignore[attr-defined]
            assert fake.users == 0

    asyncio.run(scored())


def test_a_turn_scores_so_many_rows_and_lets_others_go_on() -> None:
    async def scored() -> None:
        fake, between = inline(), []
        async with serving({"champion": fake}) as pipeline:
            requests = [asyncio.create_task(pipeline.predict(body(*map(float, range(30))))) for _ in range(7)]
            while not all(one.done() for one in requests):
                await asyncio.sleep(0)
                between.append(len(fake.calls))
            assert fake.calls == [90, 90, 30]
            assert {1, 2} <= set(between)  # the loop did something else between two turns

    asyncio.run(scored())


def test_one_that_is_refused_in_a_turn_is_no_other_ones_error() -> None:
    async def scored() -> None:
        fake = inline()
        async with serving({"champion": fake}) as pipeline:
            good, bad, other = await asyncio.gather(
                *(pipeline.predict(body(value)) for value in (1.0, -2.0, 3.0)), return_exceptions=True
            )
            assert (good.scores, other.scores) == ([1.0], [3.0])  # type: ignore[union-attr]
            assert isinstance(bad, Problem)
            assert (bad.status, fake.users) == (422, 0)

    asyncio.run(scored())


def test_a_version_that_is_swapped_out_before_its_turn_answers_and_is_freed() -> None:
    async def scored() -> None:
        old, new = inline(), inline("1.1.0", plus=10.0)
        async with serving({"champion": old}) as pipeline:
            waiting = asyncio.create_task(pipeline.predict(body(1.0)))
            await asyncio.sleep(0)
            pipeline.swap(Versions({"champion": new}))  # type: ignore[dict-item]
            assert (await waiting).scores == [1.0]
            assert old.is_closed
            assert (await pipeline.predict(body(1.0))).scores == [11.0]

    asyncio.run(scored())


def test_features_that_take_long_leave_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scored() -> None:
        fake = inline()
        monkeypatch.setattr(lanes, "TURN_S", -1.0)
        async with serving({"champion": fake}) as pipeline:
            assert (await pipeline.predict(body(1.0))).scores == [1.0]
            assert not fake.inline
            assert (await pipeline.predict(body(2.0))).scores == [2.0]

    asyncio.run(scored())


@pytest.mark.parametrize("is_inline", [True, False])
def test_a_thousand_swaps_under_load_fail_no_request_and_free_every_old_version(is_inline: bool) -> None:
    async def asked(pipeline: Pipeline, stop: asyncio.Event) -> int:
        count = 0
        while not stop.is_set():
            found = await pipeline.predict(body(1.0, 2.0))
            assert found.scores == [1.0 + float(str(found.version)), 2.0 + float(str(found.version))]
            count += 1
            await asyncio.sleep(0)
        return count

    async def swapped() -> None:
        made = [Fake(str(number), plus=float(number)) for number in range(1001)]
        for fake in made:
            fake.inline = is_inline
        stop = asyncio.Event()
        async with serving({"champion": made[0]}) as pipeline:
            clients = [asyncio.create_task(asked(pipeline, stop)) for _ in range(8)]
            for fake in made[1:]:
                await asyncio.sleep(0.0005)
                pipeline.swap(Versions({"champion": fake}))  # type: ignore[dict-item]
            stop.set()
            assert sum(await asyncio.gather(*clients)) > 1000
            assert [fake.is_closed for fake in made] == [True] * 1000 + [False]

    asyncio.run(swapped())
