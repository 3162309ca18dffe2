"""The sensor that has the servers' logs read into the lake."""

import json

import dagster as dg

from ml_assets.graph import run_requests, sensing
from ml_assets.graph.batches import UNFINISHED
from ml_assets.graph.run_requests import Requests
from ml_assets.graph.scoring.prediction_log import hour_of
from ml_assets.graph.sensing import Found, Tick
from ml_assets.lake.paths import Paths
from ml_assets.sources.segments import segments_of
from ml_assets.spec import PipelineSpec
from ml_assets.tables import prediction_log as tables
from ml_assets.tables.prediction_log import PREDICTION_LOG

# Each run is events and snapshots that are kept; outcomes take longer to become known than this.
INTERVAL_S = 300


def log_sensor(spec: PipelineSpec, paths: Paths, job: str) -> list[dg.SensorDefinition]:
    """Watch the segments of the log: what has grown is read in one run; none where the YAML turns the log off.

    It remembers how long each segment was when its hour was requested, and requests an hour again where the lake does
    not show the result. Where that is lost, it begins with what the lake holds.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        job: The job of prediction_log and online_report.
    """
    if spec.serving.log is None:
        return []

    def check(tick: Tick) -> Found:
        now = segments_of(paths, spec.name).sizes()
        before = json.loads(tick.remembered() or "null") or {"sizes": _read(tick)}
        earlier: dict[str, int] = before["sizes"]
        grown = sorted({hour_of(name) for name, size in now.items() if size > earlier.get(name, 0)})
        if tick.instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED), limit=1):
            return Found(reason="the run before is under way")
        first, pending = run_requests.repeated(grown, {}), run_requests.from_cells(before.get("requested", {}))
        pending = {hour: one for hour, one in pending.items() if hour not in first}
        due = run_requests.due(pending)
        lost = _lost(tick, due) if due else {}
        requested = {hour: one for hour, one in pending.items() if hour not in due}
        requested |= first | run_requests.repeated(lost, lost)
        memory = json.dumps({"sizes": now, "requested": run_requests.as_cells(requested)})
        if not first and not lost:
            return Found(reason=f"{len(now)} segment{'' if len(now) == 1 else 's'}, nothing new", memory=memory)
        hours, new = tick.neighbours({*first, *lost}, by_hour=True)
        keys = [sensing.short_hash([one for one in now.items() if hour_of(one[0]) in some]) for some in hours]
        runs = [sensing.run(key, lost, batches=some) for key, some in zip(keys, hours, strict=True)]
        return Found(runs, memory=memory, new_hours=new)

    description = f"Starts one run of {job} for the hours in which servers have logged something new."
    return [sensing.sensor(spec, paths, PREDICTION_LOG.name, check, description, INTERVAL_S, job_name=job)]


def _read(tick: Tick) -> dict[str, int]:
    """Segment -> bytes that the lake has."""
    with tick.lake() as lake:
        read = tables.segments(lake, tick.spec.name) if lake.catalog.exists() else {}
    return {name: one.bytes for name, one in read.items()}


def _lost(tick: Tick, due: Requests) -> Requests:
    """Requests whose hour still has a whole line that was not read."""
    places, read = segments_of(tick.paths, tick.spec.name), _read(tick)
    waiting = [name for name in places.sizes() if hour_of(name) in due]
    left = {hour_of(name) for name in waiting if places.has_more(name, read.get(name, 0))}
    return {hour: one for hour, one in due.items() if hour in left}
