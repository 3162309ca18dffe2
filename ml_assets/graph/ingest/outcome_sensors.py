"""The sensor that takes outcomes when they come, and has the live scores measured that they change."""

import datetime as dt
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import dagster as dg

from ml_assets.errors import MLAssetsError
from ml_assets.escaping import without_secrets
from ml_assets.graph import declare, requests
from ml_assets.graph.batches import ranges, unfinished_run
from ml_assets.graph.ingest import arrivals as stock
from ml_assets.graph.ingest import files, outcomes
from ml_assets.graph.ingest.files import Arrival
from ml_assets.graph.ingest.outcome_assets import outcomes_version
from ml_assets.graph.ingest.sensors import INTERVAL_S, READING_S, read_seen, write_seen
from ml_assets.graph.requests import Requests
from ml_assets.graph.sensor_memory import Memory
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.spec import Outcomes, PipelineSpec
from ml_assets.tables import ingest_errors
from ml_assets.tables import outcomes as late
from ml_assets.tables.arrivals import OUTCOME_FILES, known
from ml_assets.tables.performance import PERFORMANCE

FOLDER = ""  # stands, among requests, for all files of the folder: one run takes them all


@dataclass(frozen=True)
class Cursor:
    """What the sensor has dealt with.

    Args:
        files: Stands for the files that it has seen, and the code that they were seen with (memory.py).
        snapshot: The lake's newest snapshot at the last look into it.
        until: When the newest outcome was received that it has had measured.
        measuring: Batch -> time and number of the request to measure it, while there is no result (requests.py).
    """

    files: str = ""
    snapshot: int | None = None
    until: str | None = None
    measuring: Mapping[str, list[float]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        """The cursor from its text; an empty one where there is none to go by."""
        try:
            return cls(**json.loads(text or "{}"))
        except (ValueError, TypeError):
            return cls()

    def write(self) -> str:
        """The cursor as text."""
        return json.dumps(asdict(self))


def outcomes_sensor(spec: PipelineSpec, paths: Paths, job: str) -> list[dg.SensorDefinition]:
    """Watch the folder of outcomes, then the outcomes in the lake; none where the YAML names no `outcomes`.

    New files become one run of the asset `outcomes`. What has to be measured again the lake tells: batches with an
    outcome that is newer than what their performance report knew. So outcomes that were taken by hand count as well.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        job: The job of outcomes and performance_report.
    """
    return [] if spec.outcomes is None else [_sensor(spec, spec.outcomes, paths, job)]


def _sensor(spec: PipelineSpec, source: Outcomes, paths: Paths, job: str) -> dg.SensorDefinition:
    place, version = files.place_of(spec, paths, source), outcomes_version(spec)
    memory = Memory(paths.sensors / f"{spec.name}_outcomes")

    @dg.sensor(
        name=f"{spec.name}_outcomes",
        job_name=job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"New and changed files in {without_secrets(source.path)} are taken; then the live scores that "
        "they change are measured again.",
    )
    def outcomes_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        cursor = Cursor.read(context.cursor)
        try:
            seen_by, seen, taking = read_seen(memory.read(cursor.files or None)) or ("", {}, {})
            taking = dict(zip([FOLDER], taking.values(), strict=False))  # of an earlier version: by batch
            earlier = seen if seen_by == version else _recorded(spec, paths)
            found = files.scan(source, place, earlier, time.monotonic() + READING_S)
            snapshot = paths.catalog.newest_snapshot(spec.name)
            new = outcomes.is_new(found, earlier, look_again=seen_by != version)
            new += [one for one in stock.set_aside(found, earlier) if one.status == "unmatched"]
            due = requests.due(taking | requests.from_cells(cursor.measuring))
            if due and unfinished_run(context.instance, spec.name):
                due = {}
            left, lost = [], {}
            if FOLDER in due and not new:
                left = _not_taken(spec, paths, found)
                taking, lost = {}, {FOLDER: due.pop(FOLDER)}
            if new or left:
                taking = requests.repeated([FOLDER], lost)
            now = replace(cursor, files=memory.write(write_seen(version, found, taking), cursor.files))
            if new or left:
                run = _take(spec, version, new or left, lost)
                return dg.SensorResult(run_requests=[run], cursor=now.write())
            if snapshot is None or (snapshot == cursor.snapshot and not due):
                reason = dg.SkipReason(f"{len(found)} files, none new or changed; no write to the lake since")
                return dg.SensorResult(skip_reason=reason, cursor=now.write())
            return _measure(context, spec, paths, now, snapshot, due)
        except MLAssetsError as error:
            return dg.SkipReason(str(error))

    return outcomes_sensor


def _recorded(spec: PipelineSpec, paths: Paths) -> dict[str, Arrival]:
    """Files as the asset last saw them."""
    with Lake(paths.lake, read_only=True) as lake:
        return known(lake, spec.name, OUTCOME_FILES) if lake.catalog.exists() else {}


def _not_taken(spec: PipelineSpec, paths: Paths, found: Sequence[Arrival]) -> list[Arrival]:
    """Files that no run has recorded."""
    recorded = {(one.path, one.sha256) for one in _recorded(spec, paths).values()}
    listed = [one for one in found if one.status in ("ready", *stock.SET_ASIDE)]
    return [one for one in listed if (one.path, one.sha256) not in recorded]


def _take(spec: PipelineSpec, version: str, new: Sequence[Arrival], lost: Requests) -> dg.RunRequest:
    facts = [version, *(f"{one.path} {one.sha256} {one.modified_at}" for one in new)]
    return dg.RunRequest(
        run_key=requests.run_key(f"take-{_hash(facts)}", [FOLDER], lost),
        tags=requests.why([FOLDER], lost),
        asset_selection=[declare.asset_key(spec, late.OUTCOMES)],
    )


def _measure(
    context: dg.SensorEvaluationContext,
    spec: PipelineSpec,
    paths: Paths,
    cursor: Cursor,
    snapshot: int,
    waited: Requests,
) -> dg.SensorResult:
    """Ask for the performance reports that outcomes have changed since the last look, and again for lost ones."""
    after = dt.datetime.fromisoformat(cursor.until) if cursor.until else None
    with Lake(paths.lake, read_only=True) as lake:
        newest = late.newest(lake, spec.name)
        is_old = newest is None or (after is not None and newest <= after)
        first = [] if is_old else late.to_measure(lake, spec.name, late.late(lake, spec), after)
        left = late.to_measure(lake, spec.name, late.late(lake, spec)) if waited else []
        failed_at = ingest_errors.newest(lake, spec.name, PERFORMANCE) if waited else {}
    lost = {
        batch: waited[batch]
        for batch in left
        if batch in waited and batch not in first and failed_at.get(batch, 0.0) < waited[batch].at
    }
    until = cursor.until if newest is None else newest.isoformat()
    batches = sorted({*first, *lost})
    registered = context.instance.get_dynamic_partitions(f"{spec.name}_batches")
    new = [batch for batch in batches if batch not in registered]
    runs = [
        dg.RunRequest(
            run_key=requests.run_key(f"measure-{_hash([until, *some])}", some, lost),
            asset_selection=[declare.asset_key(spec, PERFORMANCE)],
            tags={
                "dagster/asset_partition_range_start": some[0],
                "dagster/asset_partition_range_end": some[-1],
                "ml_assets/batches": ", ".join(some),
                **requests.why(some, lost),
            },
        )
        for some in ranges([*registered, *new], dict.fromkeys(batches))
    ]
    pending = {batch: one for batch, one in requests.from_cells(cursor.measuring).items() if batch not in waited}
    measuring = pending | requests.repeated(first, {}) | requests.repeated(lost, lost)
    now = replace(cursor, snapshot=snapshot, until=until, measuring=requests.as_cells(measuring))
    return dg.SensorResult(
        run_requests=runs,
        skip_reason=None if runs else dg.SkipReason("no outcome changes a live score"),
        dynamic_partitions_requests=[declare.batches_of(spec).build_add_request(new)] if new else [],
        cursor=now.write(),
    )


def _hash(facts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
