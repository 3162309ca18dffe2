"""The sensor that turns new and changed files into one ingest run."""

import datetime as dt
import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg
import duckdb

from ml_assets.errors import MLAssetsError
from ml_assets.escaping import without_secrets
from ml_assets.graph import declare, requests
from ml_assets.graph.batches import ranges, unfinished_run
from ml_assets.graph.code_version import code_version
from ml_assets.graph.ingest import arrivals as stock
from ml_assets.graph.ingest import files
from ml_assets.graph.ingest.files import Arrival
from ml_assets.graph.requests import Request, Requests
from ml_assets.graph.sensor_memory import Memory
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec
from ml_assets.tables import versions

INTERVAL_S = 5
# Dagster gives a tick 60 s. What is not read in this time is read in the next ticks.
READING_S = 20


def new_data_sensor(
    spec: PipelineSpec,
    paths: Paths,
    job: str,
    before_champion: Sequence[dg.AssetKey],
) -> dg.SensorDefinition:
    """Watch the source folder; the cursor stands for what it has seen: a file is picked up once for each content.

    A request whose run ended without a result in the lake is repeated (`without_result`, requests.py).

    Without a cursor it begins with what the lake holds: files that were ingested by hand are not taken up again.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        job: The ingest job.
        before_champion: The job's assets that need no champion: all that runs while there is none.
    """
    partitions, place = f"{spec.name}_batches", files.place_of(spec, paths)
    memory = Memory(paths.sensors / f"{spec.name}_new_data")
    version = code_version([stock], spec.source, spec.columns, spec.tolerate)

    @dg.sensor(
        name=f"{spec.name}_new_data",
        job_name=job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"New and changed files in {without_secrets(spec.source.path)} become one run of {job}.",
    )
    def new_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            seen = read_seen(memory.read(context.cursor))
            seen_by, earlier, requested = seen or ("", stock.ingested(paths, spec), {})
            deadline = time.monotonic() + READING_S
            found = stock.take_stock(spec, place, earlier, look_again=seen_by != version, deadline=deadline)
            changed = stock.changed_batches(found, earlier)
            aside = stock.set_aside(found, earlier)
            first = requests.repeated([*changed, *([stock.ASIDE] if aside else [])], {})
            there = {*stock.by_batch(found), stock.ASIDE} - set(first)
            pending = {name: one for name, one in requested.items() if name in there}
            pending, lost = _judged(context.instance, spec, paths, found, pending)
            requested = {**pending, **first, **requests.repeated(lost, lost)}
            has_champion = bool(first or lost) and _has_champion(spec, paths)
            cursor = memory.write(write_seen(version, found, requested), context.cursor)
        except (duckdb.Error, MLAssetsError) as error:  # also of a lake that is busy or lost: the next tick looks again
            return dg.SkipReason(str(error))
        for arrival in aside:
            context.log.info(f"{arrival.path} is {arrival.status}: {arrival.error}")
        if not first and not lost:
            reason = dg.SkipReason(_nothing_to_do(found))
            return reason if cursor == context.cursor else dg.SensorResult(skip_reason=reason, cursor=cursor)
        registered = dict.fromkeys(context.instance.get_dynamic_partitions(partitions))
        wanted = {name for name in (*first, *lost) if name != stock.ASIDE}
        new = [batch for batch in sorted(wanted) if batch not in registered]
        selection = None if has_champion else list(before_champion)
        runs = [_ingest(found, some, lost, selection) for some in ranges([*registered, *new], wanted)]
        if not runs:  # only files that are set aside: record them, ingest nothing
            runs = [_record(spec, aside or stock.set_aside(found, {}), lost)]
        if lost:
            what = requests.named([name or "the record of files that are set aside" for name in sorted(lost)])
            context.log.info(f"requested again: {what}; {requests.why(lost, lost)['ml_assets/why']}")
        return dg.SensorResult(
            run_requests=runs,
            dynamic_partitions_requests=[declare.batches_of(spec).build_add_request(new)] if new else [],
            cursor=cursor,
        )

    return new_data


def _judged(
    instance: dg.DagsterInstance,
    spec: PipelineSpec,
    paths: Paths,
    found: Sequence[Arrival],
    pending: Requests,
) -> tuple[Requests, Requests]:
    """Requests whose result is still not there, and which of them have lost their run.

    The lake is opened only where a request is due and no run is under way.
    """
    due = requests.due(pending)
    if not due or unfinished_run(instance, spec.name):
        return pending, {}
    with Lake(paths.lake, read_only=True) as lake:
        without = stock.without_result(lake, spec, found, due)
    lost = {name: one for name, one in due.items() if name in without}
    return {name: one for name, one in pending.items() if name not in due or name in lost}, lost


def _ingest(
    found: Sequence[Arrival], batches: Sequence[str], lost: Requests, selection: list[dg.AssetKey] | None
) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=requests.run_key(_run_key(found, batches), batches, lost),
        tags={
            "dagster/asset_partition_range_start": batches[0],
            "dagster/asset_partition_range_end": batches[-1],
            "ml_assets/batches": ", ".join(batches),
            **requests.why(batches, lost),
        },
        asset_selection=selection,
    )


def _record(spec: PipelineSpec, aside: Sequence[Arrival], lost: Requests) -> dg.RunRequest:
    lines = json.dumps([f"{a.path} {a.version} {a.status}" for a in aside])
    key = f"aside-{hashlib.sha256(lines.encode()).hexdigest()}"
    return dg.RunRequest(
        run_key=requests.run_key(key, [stock.ASIDE], lost),
        tags=requests.why([stock.ASIDE], lost),
        asset_selection=[declare.asset_key(spec, "arrivals")],
    )


def _has_champion(spec: PipelineSpec, paths: Paths) -> bool:
    with Lake(paths.lake, read_only=True) as lake:
        return lake.catalog.exists() and versions.alias(lake, spec.name, "champion") is not None


def _nothing_to_do(found: Sequence[Arrival]) -> str:
    """`5 files, none new or changed: 1 refused, 1 settling`."""
    others = [arrival.status for arrival in found if arrival.status != "ready"]
    counts = ", ".join(f"{others.count(status)} {status}" for status in sorted(set(others)))
    return f"{len(found)} files, none new or changed" + (f": {counts}" if counts else "")


def _run_key(found: Sequence[Arrival], batches: Sequence[str]) -> str:
    """Names content and time of change: Dagster never runs a key twice, and a file may return to earlier bytes."""
    wanted = set(batches)
    lines = [f"{a.path} {a.sha256} {a.modified_at}" for a in found if a.batch in wanted and a.status == "ready"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_seen(text: str | None) -> tuple[str, dict[str, Arrival], Requests] | None:
    """Version of the code that wrote the text, what it had seen, and requests without a result; None for other texts.

    Earlier versions kept no requests: each file of theirs counts as requested when it was seen.
    """
    try:
        version, rows, *others = json.loads(text or "")
        time_of = dt.datetime.fromisoformat
        seen = {
            path: Arrival(path, batch, sha256, size, time_of(modified_at), time_of(seen_at), status, tag=tag)
            for path, batch, sha256, size, modified_at, seen_at, status, tag in rows
        }
        return version, seen, requests.from_cells(others[0]) if others else _as_if_requested(seen.values())
    except (ValueError, TypeError, AttributeError):
        return None


def _as_if_requested(seen: Iterable[Arrival]) -> Requests:
    moments = sorted((a.seen_at, a.batch) for a in seen if a.status == "ready" and a.batch is not None)
    return {batch: Request(at.replace(tzinfo=dt.UTC).timestamp()) for at, batch in moments}


def write_seen(version: str, found: Sequence[Arrival], requested: Mapping[str, Request]) -> str:
    """What `read_seen` reads."""
    return json.dumps(
        [
            version,
            [
                [
                    a.path,
                    a.batch,
                    a.sha256,
                    a.size_bytes,
                    a.modified_at.isoformat(),
                    a.seen_at.isoformat(),
                    a.status,
                    a.tag,
                ]
                for a in found
            ],
            requests.as_cells(requested),
        ]
    )
