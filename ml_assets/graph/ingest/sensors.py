"""The sensor that turns new and changed files into one ingest run."""

import time
from collections.abc import Sequence

import dagster as dg

from ml_assets.escaping import without_secrets
from ml_assets.graph import declare, run_requests, sensing
from ml_assets.graph.code_version import code_version
from ml_assets.graph.ingest import arrivals, files
from ml_assets.graph.ingest.arrivals import REJECTED_FILES
from ml_assets.graph.ingest.seen_files import READING_S, SeenFiles, by_path
from ml_assets.graph.run_requests import Requests
from ml_assets.graph.sensing import Found, Tick
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec
from ml_assets.tables import versions
from ml_assets.tables.arrivals import ARRIVALS, REJECTED, Arrival, ready_batches


def new_data_sensor(
    spec: PipelineSpec,
    paths: Paths,
    job: str,
    before_champion: Sequence[dg.AssetKey],
) -> dg.SensorDefinition:
    """Watch the source folder: a file is ingested once for each content, and again where its run was lost.

    It remembers the files that it has seen. Where that is lost, it begins with what the lake holds, so that files
    which were ingested by hand are not ingested again.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        job: The ingest job.
        before_champion: The job's assets that need no champion: all that runs while there is none.
    """
    place = files.place_of(spec, paths)
    version = code_version([arrivals], spec.source, spec.columns, spec.tolerate)

    def check(tick: Tick) -> Found:
        seen = SeenFiles.read(tick.remembered()) or SeenFiles(files=_ingested(tick))
        deadline = time.monotonic() + READING_S
        found = arrivals.scan_source(spec, place, seen.files, seen.version != version, deadline)
        rejected = arrivals.newly_rejected(found, seen.files)
        changed = [*arrivals.changed_batches(found, seen.files), *([REJECTED_FILES] if rejected else [])]
        first = run_requests.repeated(changed, {})
        pending, lost = _pending_and_lost(tick, found, seen.requested, first)
        requested = {**pending, **first, **run_requests.repeated(lost, lost)}
        memory = SeenFiles(version, by_path(found), requested).write()
        for arrival in rejected:
            tick.context.log.info(f"{arrival.path} is {arrival.status}: {arrival.error}")
        if not first and not lost:
            return Found(reason=_nothing_to_do(found), memory=memory)
        batches, new = tick.neighbours({*first, *lost} - {REJECTED_FILES})
        selection = None if _has_champion(tick) else before_champion
        runs = [sensing.run(_content(found, some), lost, batches=some, assets=selection) for some in batches]
        return Found(runs or [_record(spec, rejected or found, lost)], memory=memory, new_batches=new)

    description = f"Starts one run of {job} for the new and changed files in {without_secrets(spec.source.path)}."
    return sensing.sensor(spec, paths, "new_data", check, description, job_name=job)


def _ingested(tick: Tick) -> dict[str, Arrival]:
    with tick.lake() as lake:
        return arrivals.ingested(lake, tick.spec)


def _pending_and_lost(
    tick: Tick, found: Sequence[Arrival], requested: Requests, first: Requests
) -> tuple[Requests, Requests]:
    """Earlier requests whose result is still not there, and which of them have lost their run.

    The lake is opened only where a request is due and no run is under way.
    """
    names = {*ready_batches(found), REJECTED_FILES} - set(first)
    pending = {name: one for name, one in requested.items() if name in names}
    due = tick.due(pending)
    if not due:
        return pending, {}
    with tick.lake() as lake:
        without = arrivals.without_result(lake, tick.spec, found, due)
    lost = {name: one for name, one in due.items() if name in without}
    if lost:
        what = run_requests.named([name or "the record of rejected files" for name in sorted(lost)])
        tick.context.log.info(f"requested again: {what}; {run_requests.why(lost, lost)['ml_assets/why']}")
    return {name: one for name, one in pending.items() if name not in due or name in lost}, lost


def _record(spec: PipelineSpec, rejected: Sequence[Arrival], lost: Requests) -> dg.RunRequest:
    """Only files that are rejected: they are recorded, and nothing is ingested."""
    content = [f"{a.path} {a.version} {a.status}" for a in rejected if a.status in REJECTED]
    key = f"rejected-{sensing.short_hash(content)}"
    names = [one.path.rpartition("/")[2] for one in rejected if one.status in REJECTED]
    tags = {declare.REJECTED_TAG: run_requests.named(names)}
    return sensing.run(key, lost, names=[REJECTED_FILES], tags=tags, assets=[declare.asset_key(spec, ARRIVALS)])


def _has_champion(tick: Tick) -> bool:
    with tick.lake() as lake:
        return lake.catalog.exists() and versions.alias(lake, tick.spec.name, "champion") is not None


def _nothing_to_do(found: Sequence[Arrival]) -> str:
    """`5 files, none new or changed: 1 refused, 1 settling`."""
    others = [arrival.status for arrival in found if arrival.status != "ready"]
    counts = ", ".join(f"{others.count(status)} {status}" for status in sorted(set(others)))
    return f"{len(found)} files, none new or changed" + (f": {counts}" if counts else "")


def _content(found: Sequence[Arrival], batches: Sequence[str]) -> str:
    """Names content and time of change: Dagster never runs a key twice, and a file may return to earlier bytes."""
    chosen = set(batches)
    return sensing.short_hash(
        [f"{a.path} {a.sha256} {a.modified_at}" for a in found if a.batch in chosen and a.status == "ready"]
    )
