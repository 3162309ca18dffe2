"""The sensor that turns new and changed files into one ingest run."""

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import dagster as dg

from ml_assets.errors import MLAssetsError
from ml_assets.graph import steps
from ml_assets.graph.ingest import arrivals as stock
from ml_assets.graph.ingest.files import Arrival
from ml_assets.spec import PipelineSpec
from ml_assets.store import registry
from ml_assets.store.lake import Lake
from ml_assets.store.paths import Paths

INTERVAL_S = 5


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
    partitions = f"{spec.name}_batches"

    @dg.sensor(
        name=f"{spec.name}_new_data",
        job_name=job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"New and changed files in {spec.source.path} become one run of {job}.",
    )
    def new_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            earlier = _read(context.cursor) if context.cursor else stock.ingested(paths, spec)
            found = stock.take_stock(spec, paths.resolve(spec.source.path), earlier)
        except MLAssetsError as error:
            return dg.SkipReason(str(error))
        changed = stock.changed_batches(found, earlier)
        refused = [a for a in found if a.status == "refused" and not _same(a, earlier.get(a.path))]
        if not changed and not refused:
            waiting = sum(arrival.status == "settling" for arrival in found)
            return dg.SkipReason(
                f"{len(found)} files, none new or changed" + (f", {waiting} settling" if waiting else "")
            )
        with Lake(paths.lake, read_only=True) as lake:
            has_champion = lake.is_there() and registry.alias(lake, spec.name, "champion") is not None
        registered = list(context.instance.get_dynamic_partitions(partitions))
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
            for batches in _ranges([*registered, *new], changed)
        ]
        if not requests:  # only refused files: record them, ingest nothing
            key = hashlib.sha256(json.dumps(sorted(f"{a.path} {a.sha256}" for a in refused)).encode()).hexdigest()
            requests = [dg.RunRequest(run_key=f"refused-{key}", asset_selection=[steps.asset_key(spec, "arrivals")])]
        return dg.SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=[steps.batches_of(spec).build_add_request(new)] if new else [],
            cursor=_write(found),
        )

    return new_data


def _same(arrival: Arrival, earlier: Arrival | None) -> bool:
    return earlier is not None and (arrival.sha256, arrival.status) == (earlier.sha256, earlier.status)


def _ranges(registered: Sequence[str], wanted: Mapping[str, object]) -> Iterator[list[str]]:
    """Wanted batches as runs of neighbours in the order of registration, which is what range tags mean."""
    neighbours: list[str] = []
    for batch in registered:
        if batch in wanted:
            neighbours.append(batch)
        elif neighbours:
            yield neighbours
            neighbours = []
    if neighbours:
        yield neighbours


def _run_key(found: Sequence[Arrival], batches: Sequence[str]) -> str:
    """Names content and time of change: Dagster never runs a key twice, and a file may return to earlier bytes."""
    lines = [f"{a.path} {a.sha256} {a.modified_at}" for a in found if a.batch in batches and a.status == "ready"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read(cursor: str) -> dict[str, Arrival]:
    return {
        row["path"]: Arrival(**{**row, "modified_at": dt.datetime.fromisoformat(row["modified_at"]), "error": None})
        for row in json.loads(cursor)
    }


def _write(found: Sequence[Arrival]) -> str:
    """What was seen; a settling file is not, so that it counts as new once it has settled."""
    return json.dumps(
        [
            {**asdict(arrival), "modified_at": arrival.modified_at.isoformat(), "error": None}
            for arrival in found
            if arrival.status != "settling"
        ]
    )
