"""The batches of one run, walked in order: one that is refused never stops the others.

Dagster marks every batch of a run as materialized or none. A batch that is refused while others of the same run pass
is therefore materialized with the metadata `refused`, its checks fail, its earlier rows stay; where no batch of a
run passes, the step fails.
"""

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import dagster as dg
import duckdb

from ml_assets.atomic import short_hash
from ml_assets.errors import BatchRefused, LakeError, MLAssetsError
from ml_assets.graph.declare import Metadata, commit, shown, table_of, written_metadata
from ml_assets.lake import faults
from ml_assets.lake.lake import Lake, Written
from ml_assets.pages import addresses
from ml_assets.step_errors import UserFailure
from ml_assets.tables import ingest_errors
from ml_assets.tables.ingest_errors import FailedIngest

RANGE_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
WILL_RETRY = "dagster/will_retry"  # Dagster tags a failed run so, once it knows
RETRIED_BY = "dagster/auto_retry_run_id"  # and so, once it has made the retry
RETRIED_WITHIN = dt.timedelta(minutes=1)  # Dagster's retry follows within seconds, or never
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def ranges(registered: Sequence[str], selected: Container[str]) -> Iterator[list[str]]:
    """Selected batches as runs of neighbours in the order of registration, which is what range tags mean."""
    for is_selected, neighbours in groupby(registered, key=lambda batch: batch in selected):
        if is_selected:
            yield list(neighbours)


def unfinished_run(instance: dg.DagsterInstance, pipeline: str) -> dg.DagsterRun | None:
    """A run that writes batches, or soon will, also as a retry. Runs by hand have no tag, but a selection."""
    since = dt.datetime.now(dt.UTC) - RETRIED_WITHIN
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={WILL_RETRY: "true"}, updated_after=since)
    waiting = [run for run in instance.get_runs(failed) if RETRIED_BY not in run.tags]
    for run in (*instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)), *waiting):
        touched = {key.path[0] for key in run.asset_selection or ()}
        if run.tags.get("ml_assets/pipeline") == pipeline or pipeline in touched:
            return run
    return None


# What DuckDB says of values and of the machine. Of a wrong SELECT of ours it says a ProgrammingError.
OF_DATA = (duckdb.DataError, duckdb.OperationalError, duckdb.InvalidInputException)


@dataclass
class Result:
    """What one step made for one asset: the write, and metadata of its own."""

    written: Written
    metadata: Metadata = field(default_factory=dict)


def each_batch(
    context: dg.AssetExecutionContext,
    lake: Lake,
    keys: Sequence[dg.AssetKey],
    work: Callable[[str], Mapping[dg.AssetKey, Result]],
) -> Iterator[dg.MaterializeResult[Any]]:
    """Do the work for each batch of the run, in order; a refused one never stops the others.

    Whatever is raised while one batch is in work belongs to that batch, unless the lake fails: then all would.

    Args:
        lake: Where failures are recorded.
        keys: Assets that the step makes.
        work: Takes a batch, returns a result for each asset.
    """
    pipeline = keys[0].path[0]
    batches = sorted(context.partition_keys)
    if not batches:
        raise UserFailure([_no_batch(context, pipeline)])
    selected = [key for key in keys if key in context.selected_asset_keys]
    versions: dict[dg.AssetKey, list[str]] = {key: [] for key in selected}
    totals: dict[dg.AssetKey, int] = dict.fromkeys(selected, 0)
    errors = []
    for number, batch in enumerate(batches, 1):
        started = time.monotonic()
        try:
            results = work(batch)
        except Exception as caught:
            error = _of_batch(context, caught, pipeline, batch)
            errors.append(error)
            failed = FailedIngest(str(error), batch, str(error.where.get("file") or "") or None)
            with contextlib.suppress(LakeError):  # a lake that cannot be written cannot say so
                ingest_errors.record(lake, pipeline, [failed], commit(context, keys[0], batch))
            if faults.stops_all(caught):
                raise UserFailure([error, _not_tried(batches[number:])]) from None
            for key in selected:
                context.add_asset_metadata({"refused": str(error)}, asset_key=key, partition_key=batch)
            if len(batches) > 1:
                context.log.error(f"{keys[0].to_user_string()} refused:\n{error}")
            continue
        seconds = time.monotonic() - started
        page = addresses.batch(pipeline, batch)
        for key, result in ((key, results[key]) for key in selected):
            versions[key].append(result.written.data_version)
            totals[key] += result.written.rows
            written = written_metadata(result.written, seconds, by_batch=True)
            metadata = shown({**written, **result.metadata}, page)
            context.add_asset_metadata(metadata, asset_key=key, partition_key=batch)
        rows = ", ".join(f"{result.written.rows:,} rows in {key.path[-1]}" for key, result in results.items())
        context.log.info(f"[{number}/{len(batches)}] {batch}: {rows}, {seconds:.2f} s")
    if len(errors) == len(batches):
        raise UserFailure(errors)
    for key in selected:
        yield dg.MaterializeResult(
            asset_key=key,
            metadata=shown(
                {
                    **_rows_of_table(lake, key),
                    **({"rows_of_run": totals[key], "batches_refused": len(errors)} if len(batches) > 1 else {}),
                }
            ),
            data_version=dg.DataVersion(combined_version(versions[key])),
        )


def _rows_of_table(lake: Lake, key: dg.AssetKey) -> Metadata:
    """The rows of all batches, from the catalog alone; what has been written must not fail for want of it."""
    with contextlib.suppress(LakeError):
        return {"dagster/row_count": lake.count(table_of(key))}
    return {}


def _of_batch(context: dg.AssetExecutionContext, caught: Exception, pipeline: str, batch: str) -> MLAssetsError:
    """What a batch is refused for. What no check foresaw keeps its traceback in the run's log."""
    if not isinstance(caught, (MLAssetsError, *OF_DATA)):
        context.log.error(f"batch {batch}: {type(caught).__name__}", exc_info=caught)
    return faults.explained(caught).at(pipeline=pipeline, batch=batch)


def _no_batch(context: dg.AssetExecutionContext, pipeline: str) -> MLAssetsError:
    return BatchRefused(
        "The range of the run holds no batch: it ends before it begins, in the order in which batches were registered.",
        found=" to ".join(context.run.tags.get(tag, "?") for tag in (RANGE_TAG, RANGE_END_TAG)),
        where={"pipeline": pipeline},
        fix="Exchange its ends.",
    )


def _not_tried(batches: Sequence[str]) -> MLAssetsError:
    return LakeError(
        "The lake failed, so the run stopped.",
        found=f"batches not tried: {', '.join(batches[:20]) or 'none'}",
        fix="Run the same again.",
    )


def combined_version(versions: Sequence[str]) -> str:
    """The data version of several batches; of one batch, its own."""
    return versions[0] if len(versions) == 1 else short_hash(" ".join(versions))
