"""What all sensors share, so that each is its own idea only: a function from a `Tick` to what it `Found`.

One policy for all of them. A tick that cannot do its work is skipped with the reason and keeps the cursor, so that the
next one starts from the same place and loses nothing:

* The lake is busy: the next tick tries again.
* Anything else that a user can fix, such as a damaged lake or a missing folder: the error, which names the next step.

Every other exception is a bug: the tick fails, and Dagster shows it.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import dagster as dg

from ml_assets import atomic
from ml_assets.errors import LakeBusy, MLAssetsError
from ml_assets.graph import declare, run_requests
from ml_assets.graph.batches import RANGE_END_TAG, RANGE_TAG, ranges, unfinished_run
from ml_assets.graph.run_requests import Requests
from ml_assets.graph.sensor_memory import Memory
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec

INTERVAL_S = 5
Result = TypeVar("Result")


class Skip(Exception):
    """There is nothing to do, for this reason; what the sensor remembers stays."""


@dataclass(frozen=True)
class Found:
    """What a tick came to.

    Args:
        runs: Runs to start.
        reason: Why there are none.
        memory: What the next tick has to know; None where that has not changed.
        new_batches: Batches that Dagster must learn before the runs.
        new_hours: Hours, likewise.
    """

    runs: Sequence[dg.RunRequest] = ()
    reason: str = ""
    memory: str | None = None
    new_batches: Sequence[str] = ()
    new_hours: Sequence[str] = ()


@dataclass(frozen=True)
class Tick:
    """One evaluation of a sensor."""

    context: dg.SensorEvaluationContext
    spec: PipelineSpec
    paths: Paths
    memory: Memory

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.context.instance

    def remembered(self) -> str | None:
        """What the tick before has left; None at the first one, and where that is lost."""
        return self.memory.read(self.context.cursor)

    def snapshot(self) -> int:
        """The newest snapshot that the pipeline has written, read in about a millisecond."""
        return snapshot_of(self.paths, self.spec)

    def lake(self, lock_timeout_s: float | None = None) -> AbstractContextManager[Lake]:
        """The lake, as in `lake_of`."""
        return lake_of(self.paths, lock_timeout_s)

    def due(self, requested: Requests) -> Requests:
        """Requests whose result should be there by now; none while a run may still bring it."""
        found = run_requests.due(requested)
        return {} if found and unfinished_run(self.instance, self.spec.name) else found

    def neighbours(self, batches: Iterable[str], by_hour: bool = False) -> tuple[list[list[str]], list[str]]:
        """Batches, or hours, as ranges in the order of registration, each for one run, and those to be registered."""
        partitions = declare.hours_of(self.spec) if by_hour else declare.batches_of(self.spec)
        chosen, known = set(batches), list(self.instance.get_dynamic_partitions(str(partitions.name)))
        new = sorted(chosen.difference(known))
        return list(ranges([*known, *new], chosen)), new


def sensor(
    spec: PipelineSpec,
    paths: Paths,
    name: str,
    check: Callable[[Tick], Found],
    description: str,
    interval_s: int = INTERVAL_S,
    **target: Any,
) -> dg.SensorDefinition:
    """The sensor `<pipeline>_<name>`; it remembers in files (sensor_memory.py), its cursor is the SHA-256 of one.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        name: The sensor's.
        check: The sensor's idea.
        description: For people.
        interval_s: Least seconds between two ticks.
        target: `job_name` or `jobs`, as Dagster's own decorator takes them.
    """
    full_name = f"{spec.name}_{name}"
    memory = Memory(paths.sensors / full_name)

    @dg.sensor(
        name=full_name,
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
        **target,
    )
    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        tick = Tick(context, spec, paths, memory)
        return or_skipped(lambda: _result(tick, check(tick)))

    return evaluate


def _result(tick: Tick, found: Found) -> dg.SensorResult | dg.SkipReason:
    before = tick.context.cursor
    cursor = before if found.memory is None else tick.memory.write(found.memory, before)
    if not found.runs and cursor == before:
        return dg.SkipReason(found.reason)
    new = [(declare.batches_of(tick.spec), found.new_batches), (declare.hours_of(tick.spec), found.new_hours)]
    return dg.SensorResult(
        run_requests=list(found.runs),
        skip_reason=None if found.runs else dg.SkipReason(found.reason),
        cursor=cursor,
        dynamic_partitions_requests=[of.build_add_request(list(names)) for of, names in new if names and found.runs],
    )


def or_skipped(evaluate: Callable[[], Result]) -> Result | dg.SkipReason:
    """The policy, for schedules too: what a tick comes to, or why it is skipped."""
    try:
        return evaluate()
    except Skip as skip:
        return dg.SkipReason(str(skip))
    except MLAssetsError as error:
        return dg.SkipReason(_problem(error))


def _problem(error: MLAssetsError) -> str:
    if isinstance(error, LakeBusy):
        return f"the lake is busy; the next tick tries again: {error}"
    return f"cannot check until this is fixed: {error}"


def snapshot_of(paths: Paths, spec: PipelineSpec) -> int:
    """The newest snapshot that a pipeline has written.

    Raises:
        Skip: It has written none.
    """
    found = paths.catalog.newest_snapshot(spec.name)
    if found is None:
        raise Skip("nothing has been ingested yet")
    return found


@contextlib.contextmanager
def lake_of(paths: Paths, lock_timeout_s: float | None = None) -> Iterator[Lake]:
    """The lake, for reading of one snapshot; for writing where a time to wait for other writers is given."""
    if lock_timeout_s is not None:
        with Lake.of(paths, lock_timeout_s=lock_timeout_s) as lake:
            yield lake
    else:
        with Lake.of(paths, read_only=True) as lake, contextlib.ExitStack() as reading:
            if lake.catalog.exists():  # of a lake that nothing has made yet, some read nothing
                reading.enter_context(lake.one_snapshot())
            yield lake


def run(
    key: str,
    repeats: Requests,
    *,
    batches: Sequence[str] = (),
    names: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    assets: Sequence[dg.AssetKey] | None = None,
    job: str | None = None,
) -> dg.RunRequest:
    """A request for one run, over a range of batches where some are given.

    Args:
        key: Names the cause and its content: Dagster runs no key twice.
        repeats: Requests that were lost, of which the run may repeat some.
        batches: Neighbours in the order of registration.
        names: What of `repeats` the run is for, where that is not its batches.
        tags: Further tags.
        assets: What of the job runs; all where None.
        job: Name of the job, where the sensor has several.
    """
    names = names or batches
    of_batches = (
        {
            RANGE_TAG: batches[0],
            RANGE_END_TAG: batches[-1],
            "ml_assets/batches": ", ".join(batches),
        }
        if batches
        else {}
    )
    return dg.RunRequest(
        run_key=run_requests.run_key(key, names, repeats),
        job_name=job,
        tags={**of_batches, **(tags or {}), **run_requests.why(names, repeats)},
        asset_selection=None if assets is None else list(assets),
    )


def short_hash(value: object) -> str:
    """16 hex digits that name a value made of what JSON has."""
    return atomic.short_hash(json.dumps(value, sort_keys=True, default=str))
