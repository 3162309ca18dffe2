"""Sensors and jobs, driven in this process: what the daemon does, without waiting for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from ml_assets.errors import MLAssetsError

MAX_ROUNDS = 50
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Ran:
    """One run that a sensor requested.

    Args:
        job: Its job.
        sensor: Which one.
        tags: Its tags.
        error: What the failed steps say; empty where it succeeded.
        seconds: Wall time.
        cpu_seconds: CPU time of this process.
        run_id: Dagster's.
    """

    job: str
    sensor: str
    tags: dict[str, str]
    error: str
    seconds: float
    cpu_seconds: float
    run_id: str


@dataclass
class Driver:
    """A code location whose sensors are evaluated one after the other, and whose runs are executed at once.

    Args:
        defs: The definitions.
        instance: Where events, partitions and runs are kept.
        say: Told before each run: job and tags.
    """

    defs: dg.Definitions
    instance: dg.DagsterInstance
    say: Callable[[str, dict[str, str]], None] | None = None
    _cursors: dict[str, str | None] = field(default_factory=dict)
    _keys: set[tuple[str, str]] = field(default_factory=set)

    def settle(self) -> list[Ran]:
        """Evaluate every sensor, run what it requests, and again, until none requests anything.

        Raises:
            MLAssetsError: The sensors never come to rest.
        """
        ran: list[Ran] = []
        for _ in range(MAX_ROUNDS):
            before = len(ran)
            for sensor in self.defs.sensors or ():
                if isinstance(sensor, dg.SensorDefinition):
                    ran += self._tick(sensor)
            if len(ran) == before:
                return ran
        raise MLAssetsError(
            f"The sensors still ask for runs after {MAX_ROUNDS} rounds.",
            found=", ".join(f"{one.sensor}: {one.job}" for one in ran[-5:]),
        )

    def _tick(self, sensor: dg.SensorDefinition) -> Iterator[Ran]:
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self._cursors.get(sensor.name),
            sensor_name=sensor.name,
            definitions=self.defs,
        ) as context:
            tick = sensor.evaluate_tick(context)
        for new in tick.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(new.partitions_def_name, list(new.partition_keys))
        self._cursors[sensor.name] = tick.cursor
        for request in tick.run_requests or ():
            if (sensor.name, request.run_key or "") in self._keys:
                continue
            if request.run_key:
                self._keys.add((sensor.name, request.run_key))
            yield self._run(sensor, request)

    def _run(self, sensor: dg.SensorDefinition, request: Any) -> Ran:
        job = str(request.job_name or sensor.job_name)
        tags = {**request.tags, "dagster/sensor_name": sensor.name}
        if request.run_key:
            tags["dagster/run_key"] = request.run_key
        if self.say:
            self.say(job, tags)
        wall, cpu = time.monotonic(), time.process_time()
        result = self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags=tags,
            run_config={**QUIET, **(request.run_config or {})},
            asset_selection=request.asset_selection,
            partition_key=request.partition_key,
            raise_on_error=False,
        )
        seconds, cpu_seconds = time.monotonic() - wall, time.process_time() - cpu
        return Ran(job, sensor.name, tags, _error(result), seconds, cpu_seconds, result.run_id)


def _error(result: dg.ExecuteInProcessResult) -> str:
    failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    messages = [
        one.user_failure_data.description if one.user_failure_data else one.error_display_string for one in failed
    ]
    return "" if result.success else "\n".join(filter(None, messages)) or "the run failed"
