"""The sensor that has outcomes recorded when they come, and the live scores measured again that they change."""

import datetime as dt
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import dagster as dg

from ml_assets.escaping import without_secrets
from ml_assets.graph import declare, run_requests, sensing
from ml_assets.graph.ingest import arrivals, files, outcomes
from ml_assets.graph.ingest.outcome_assets import outcomes_version
from ml_assets.graph.ingest.seen_files import READING_S, SeenFiles, by_path
from ml_assets.graph.run_requests import Requests
from ml_assets.graph.sensing import Found, Skip, Tick
from ml_assets.lake.paths import Paths
from ml_assets.spec import Outcomes, PipelineSpec
from ml_assets.tables import ingest_errors
from ml_assets.tables import outcomes as late
from ml_assets.tables.arrivals import OUTCOME_FILES, REJECTED, Arrival, known
from ml_assets.tables.online import ONLINE_LOOKUPS
from ml_assets.tables.performance import PERFORMANCE

FOLDER = ""  # stands, among requests, for all files of the folder: one run records them all


@dataclass(frozen=True)
class OutcomeProgress:
    """What the sensor has dealt with.

    Args:
        files: The files that it has seen, as text; in earlier versions the name of a file of the memory.
        snapshot: The lake's newest snapshot at the last check of its outcomes.
        until: When the newest outcome was received that it has had measured.
        measuring: Batch -> time and number of the request to measure it, while there is no result (run_requests.py).
    """

    files: str = ""
    snapshot: int | None = None
    until: str | None = None
    measuring: Mapping[str, list[float]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> "OutcomeProgress":
        """The progress from its text; none where there is no text to go by."""
        try:
            return cls(**json.loads(text or "{}"))
        except (ValueError, TypeError):
            return cls()

    def write(self) -> str:
        """As text."""
        return json.dumps(asdict(self))


def outcomes_sensor(spec: PipelineSpec, paths: Paths, job: str) -> list[dg.SensorDefinition]:
    """Watch the folder of outcomes, then the outcomes in the lake; none where the YAML names no `outcomes`.

    New files become one run of the asset `outcomes`. What has to be measured again is read from the lake: batches with
    an outcome that is newer than what their performance report knew. So outcomes that were recorded by hand count too.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        job: The job of outcomes and performance_report.
    """
    if spec.outcomes is None:
        return []
    source, version = spec.outcomes, outcomes_version(spec)

    def check(tick: Tick) -> Found:
        return _check(tick, source, version)

    description = (
        f"Records the new and changed files in {without_secrets(source.path)}, then measures the live scores again "
        "that they change."
    )
    return [sensing.sensor(spec, paths, "outcomes", check, description, job_name=job)]


def _check(tick: Tick, source: Outcomes, version: str) -> Found:
    before = OutcomeProgress.read(tick.remembered())
    seen = SeenFiles.read(tick.memory.read(before.files or None)) or SeenFiles()
    earlier = seen.files if seen.version == version else _recorded(tick)
    found = files.scan(source, files.place_of(tick.spec, tick.paths, source), earlier, time.monotonic() + READING_S)
    new = outcomes.is_new(found, earlier, check_refused=seen.version != version)
    new += [one for one in arrivals.newly_rejected(found, earlier) if one.status == "unmatched"]
    recording = dict(zip([FOLDER], seen.requested.values(), strict=False))  # of an earlier version: by batch
    due = tick.due(recording | run_requests.from_cells(before.measuring))
    lost = {FOLDER: due[FOLDER]} if FOLDER in due and not new else {}
    new = new or (_not_recorded(tick, found) if lost else [])
    if new or lost:
        recording = run_requests.repeated([FOLDER], lost) if new else {}
    now = replace(before, files=SeenFiles(version, by_path(found), recording).write())
    if new:
        return Found([_record(tick.spec, version, new, lost)], memory=now.write())
    due.pop(FOLDER, None)
    unchanged = f"{len(found)} files, none new or changed; no write to the lake since"
    try:
        snapshot = tick.snapshot()
    except Skip:
        return Found(reason=unchanged, memory=now.write())
    if snapshot == now.snapshot and not due:
        return Found(reason=unchanged, memory=now.write())
    return _measure(tick, replace(now, snapshot=snapshot), due)


def _recorded(tick: Tick) -> dict[str, Arrival]:
    """Files as the asset last saw them."""
    with tick.lake() as lake:
        return known(lake, tick.spec.name, OUTCOME_FILES) if lake.catalog.exists() else {}


def _not_recorded(tick: Tick, found: Sequence[Arrival]) -> list[Arrival]:
    """Files that no run has recorded."""
    recorded = {(one.path, one.sha256) for one in _recorded(tick).values()}
    listed = [one for one in found if one.status in ("ready", *REJECTED)]
    return [one for one in listed if (one.path, one.sha256) not in recorded]


def _record(spec: PipelineSpec, version: str, new: Sequence[Arrival], lost: Requests) -> dg.RunRequest:
    content = [version, *(f"{one.path} {one.sha256} {one.modified_at}" for one in new)]
    key = f"record-{sensing.short_hash(content)}"
    tables = [late.OUTCOMES, *([ONLINE_LOOKUPS] if spec.lookups else [])]
    return sensing.run(key, lost, names=[FOLDER], assets=[declare.asset_key(spec, one) for one in tables])


def _measure(tick: Tick, progress: OutcomeProgress, waited: Requests) -> Found:
    """The performance reports that outcomes have changed since the last check, and again those of lost runs."""
    spec, after = tick.spec, dt.datetime.fromisoformat(progress.until) if progress.until else None
    with tick.lake() as lake:
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
    until = progress.until if newest is None else newest.isoformat()
    batches, new = tick.neighbours({*first, *lost})
    report = [declare.asset_key(spec, PERFORMANCE)]
    keys = [f"measure-{sensing.short_hash([until, *some])}" for some in batches]
    runs = [sensing.run(key, lost, batches=some, assets=report) for key, some in zip(keys, batches, strict=True)]
    pending = {batch: one for batch, one in run_requests.from_cells(progress.measuring).items() if batch not in waited}
    measuring = pending | run_requests.repeated(first, {}) | run_requests.repeated(lost, lost)
    now = replace(progress, until=until, measuring=run_requests.as_cells(measuring))
    return Found(runs, "no outcome changes a live score", now.write(), new)
