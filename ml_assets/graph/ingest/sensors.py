"""The sensor that turns new and changed files into one ingest run."""

import datetime as dt
import hashlib
import json
import time
from collections.abc import Sequence

import dagster as dg

from ml_assets.errors import MLAssetsError
from ml_assets.graph import steps
from ml_assets.graph.code_version import code_version
from ml_assets.graph.ingest import arrivals as stock
from ml_assets.graph.ingest import files
from ml_assets.graph.ingest.files import Arrival
from ml_assets.spec import PipelineSpec
from ml_assets.store import registry
from ml_assets.store.lake import Lake
from ml_assets.store.paths import Paths

INTERVAL_S = 5
# Dagster gives a tick 60 s. What is not read in this time is read in the next ticks.
READING_S = 20


def new_data_sensor(
    spec: PipelineSpec,
    paths: Paths,
    job: str,
    before_champion: Sequence[dg.AssetKey],
) -> dg.SensorDefinition:
    """Watch the source folder; its cursor is what it has seen, so that a file is taken up once for each content.

    Without a cursor it begins with what the lake holds: files that were ingested by hand are not taken up again.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        job: The ingest job.
        before_champion: The job's assets that need no champion: all that runs while there is none.
    """
    partitions, place = f"{spec.name}_batches", files.place_of(spec, paths)
    version = code_version(__name__, spec.source, spec.columns, spec.tolerate)

    @dg.sensor(
        name=f"{spec.name}_new_data",
        job_name=job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"New and changed files in {spec.source.path} become one run of {job}.",
    )
    def new_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            seen = read_seen(context.cursor)
            seen_by, earlier = seen or ("", stock.ingested(paths, spec))
            deadline = time.monotonic() + READING_S
            found = stock.take_stock(spec, place, earlier, look_again=seen_by != version, deadline=deadline)
        except MLAssetsError as error:
            return dg.SkipReason(str(error))
        changed = stock.changed_batches(found, earlier)
        aside = stock.set_aside(found, earlier)
        for arrival in aside:
            context.log.info(f"{arrival.path} is {arrival.status}: {arrival.error}")
        if not changed and not aside:
            reason = dg.SkipReason(_nothing_to_do(found))
            if seen_by != version or any(arrival.status == "settling" for arrival in found):
                return dg.SensorResult(skip_reason=reason, cursor=write_seen(version, found))
            return reason
        try:
            with Lake(paths.lake, read_only=True) as lake:
                has_champion = lake.is_there() and registry.alias(lake, spec.name, "champion") is not None
        except MLAssetsError as error:  # a lake that is busy or lost: the next tick looks again
            return dg.SkipReason(str(error))
        registered = dict.fromkeys(context.instance.get_dynamic_partitions(partitions))
        new = [batch for batch in changed if batch not in registered]
        requests = [
            dg.RunRequest(
                run_key=_run_key(found, batches),
                tags={
                    "dagster/asset_partition_range_start": batches[0],
                    "dagster/asset_partition_range_end": batches[-1],
                    "ml_assets/batches": ", ".join(batches),
                },
                asset_selection=None if has_champion else list(before_champion),
            )
            for batches in steps.ranges([*registered, *new], changed)
        ]
        if not requests:  # only files that are set aside: record them, ingest nothing
            key = hashlib.sha256(json.dumps([f"{a.path} {a.version} {a.status}" for a in aside]).encode()).hexdigest()
            requests = [dg.RunRequest(run_key=f"aside-{key}", asset_selection=[steps.asset_key(spec, "arrivals")])]
        return dg.SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=[steps.batches_of(spec).build_add_request(new)] if new else [],
            cursor=write_seen(version, found),
        )

    return new_data


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


def read_seen(cursor: str | None) -> tuple[str, dict[str, Arrival]] | None:
    """Version of the code that wrote the cursor, and what it had seen; None where there is none to go by."""
    try:
        version, rows = json.loads(cursor or "")
        time_of = dt.datetime.fromisoformat
        return version, {
            path: Arrival(path, batch, sha256, size, time_of(modified_at), time_of(seen_at), status)
            for path, batch, sha256, size, modified_at, seen_at, status in rows
        }
    except (ValueError, TypeError):
        return None


def write_seen(version: str, found: Sequence[Arrival]) -> str:
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
                ]
                for a in found
            ],
        ]
    )
