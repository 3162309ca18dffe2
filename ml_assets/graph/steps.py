"""What the steps of every stage share: how an asset is declared, how batches of one run are walked, how errors show.

Dagster marks every batch of a run as materialized or none. A batch that is refused while others of the same run pass
is therefore materialized with the metadata `refused`, its checks fail, its earlier rows stay; where no batch of a
run passes, the step fails.
"""

import contextlib
import datetime as dt
import hashlib
import math
import os
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from ml_assets.errors import LakeError, MLAssetsError
from ml_assets.escaping import markdown
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.store import failures, faults
from ml_assets.store.failures import FailedIngest
from ml_assets.store.lake import Commit, Lake, Written
from ml_assets.store.paths import Paths
from ml_assets.store.registry import user

Metadata = dict[str, Any]
RANGE_TAG = "dagster/asset_partition_range_start"
# Metadata of an asset that reads batches before its own: asset key -> at most how many.
LOOKS_BACK = "looks_back"
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
# What can ask for a run -> Dagster's tag that names it.
ASKED_BY = {"schedule": "dagster/schedule_name", "sensor": "dagster/sensor_name", "backfill": "dagster/backfill"}
ENV_REPORTS_URL = "ML_ASSETS_REPORTS_URL"


def batches_of(spec: PipelineSpec) -> dg.DynamicPartitionsDefinition:
    """The partitions of a pipeline: one per batch."""
    return dg.DynamicPartitionsDefinition(name=f"{spec.name}_batches")


def ranges(registered: Sequence[str], wanted: Container[str]) -> Iterator[list[str]]:
    """Wanted batches as runs of neighbours in the order of registration, which is what range tags mean."""
    for is_wanted, neighbours in groupby(registered, key=lambda batch: batch in wanted):
        if is_wanted:
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


def asset_key(spec: PipelineSpec, noun: str) -> dg.AssetKey:
    """`[pipeline, noun]`."""
    return dg.AssetKey([spec.name, noun])


def table_of(key: dg.AssetKey) -> str:
    """The lake's table of an asset."""
    return ".".join(key.path)


def common(
    spec: PipelineSpec, stage: str, code_version: str, kinds: set[str], by_batch: bool = False
) -> dict[str, Any]:
    """Arguments that every asset of a stage is declared with."""
    arguments: dict[str, Any] = {
        "group_name": f"{spec.name}_{stage}",
        "owners": spec.owners,
        "code_version": code_version,
        "kinds": kinds,
        # `dagster asset materialize --partition-range` asks it of every selected asset, partitioned or not.
        "backfill_policy": dg.BackfillPolicy.single_run(),
    }
    return arguments | ({"partitions_def": batches_of(spec)} if by_batch else {})


@dataclass
class Result:
    """What one step made for one asset: the write, and metadata of its own."""

    written: Written
    metadata: Metadata = field(default_factory=dict)


def commit(context: dg.AssetExecutionContext, key: dg.AssetKey, batch: str | None = None) -> Commit:
    """Who writes, for the snapshot's message."""
    version = context.assets_def.code_versions_by_key.get(key) or ""
    run = context.run
    return Commit(key.to_user_string(), run.run_id, version, batch, asked_by=asked_by(run.tags))


def asked_by(tags: Mapping[str, str]) -> str:
    """Who or what asked for a run, by its tags: a person, a sensor, a schedule, a backfill; else who runs this process.

    Dagster's open-source UI knows no persons, so a run that was launched there is its process's user's.
    """
    if "user" in tags:
        return tags["user"]
    for word, tag in ASKED_BY.items():
        if tag in tags:
            return f"{word} {tags[tag]}"
    return user()


def written_metadata(written: Written, seconds: float) -> Metadata:
    """Numbers of a write that Dagster shows and plots."""
    return {
        "dagster/row_count": written.rows,
        "seconds": round(seconds, 3),
        "size_bytes": written.bytes,
        "snapshot": written.snapshot_id,
        "table": f"lake.{written.table}",
    }


@contextlib.contextmanager
def user_errors(**where: object) -> Iterator[None]:
    """Turn an error that the user can mend into a failed step with its text, without a traceback of our code."""
    try:
        yield
    except (MLAssetsError, duckdb.Error) as error:
        raise failure([faults.explained(error).at(**where)]) from None


def failure(errors: Sequence[MLAssetsError]) -> dg.Failure:
    """A failed step that says what the errors say; a retry would fail again."""
    text = "\n".join(str(error) for error in errors)
    failed = dg.Failure(
        description=text, metadata={"error": dg.MetadataValue.md(f"```\n{text}\n```")}, allow_retries=False
    )
    return failed.with_traceback(None)


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
                failures.record(lake, pipeline, [failed], commit(context, keys[0], batch))
            if faults.stops_all(caught):
                raise failure([error, _not_tried(batches[number:])]) from None
            for key in selected:
                context.add_asset_metadata({"refused": str(error)}, asset_key=key, partition_key=batch)
            if len(batches) > 1:
                context.log.error(f"{keys[0].to_user_string()} refused:\n{error}")
            continue
        seconds = time.monotonic() - started
        for key, result in ((key, results[key]) for key in selected):
            versions[key].append(result.written.data_version)
            totals[key] += result.written.rows
            context.add_asset_metadata(
                {**written_metadata(result.written, seconds), **result.metadata}, asset_key=key, partition_key=batch
            )
        rows = ", ".join(f"{result.written.rows:,} rows in {key.path[-1]}" for key, result in results.items())
        context.log.info(f"[{number}/{len(batches)}] {batch}: {rows}, {seconds:.2f} s")
    if len(errors) == len(batches):
        raise failure(errors)
    for key in selected:
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={"rows_of_run": totals[key], "batches_refused": len(errors)} if len(batches) > 1 else {},
            data_version=dg.DataVersion(combined_version(versions[key])),
        )


def _of_batch(context: dg.AssetExecutionContext, caught: Exception, pipeline: str, batch: str) -> MLAssetsError:
    """What a batch is refused for. What no check foresaw keeps its traceback in the run's log."""
    if not isinstance(caught, MLAssetsError | duckdb.OutOfMemoryException):
        context.log.error(f"batch {batch}: {type(caught).__name__}", exc_info=caught)
    return faults.explained(caught).at(pipeline=pipeline, batch=batch)


def _not_tried(batches: Sequence[str]) -> MLAssetsError:
    return LakeError(
        "The lake failed, so the run stopped.",
        found=f"batches not tried: {', '.join(batches[:20]) or 'none'}",
        fix="Run the same again.",
    )


def combined_version(versions: Sequence[str]) -> str:
    """The data version of several batches; of one batch, its own."""
    return versions[0] if len(versions) == 1 else hashlib.sha256(" ".join(versions).encode()).hexdigest()[:16]


def page_links(paths: Paths, page: Path) -> Metadata:
    """Metadata that leads to an HTML page under the reports folder: its path, and its address under `make ui`."""
    base = os.environ.get(ENV_REPORTS_URL, "http://127.0.0.1:3001")
    return {
        "page": dg.MetadataValue.url(f"{base.rstrip('/')}/{page.relative_to(paths.reports).as_posix()}"),
        "page_file": dg.MetadataValue.path(str(page)),
    }


def column_schema(types: Mapping[str, str], descriptions: Mapping[str, str] | None = None) -> dg.TableSchema:
    """Columns as Dagster shows them."""
    described = descriptions or {}
    return dg.TableSchema(
        columns=[dg.TableColumn(name, kind, description=described.get(name)) for name, kind in types.items()]
    )


def markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a Markdown table; numbers with four significant digits."""
    if not rows:
        return "_none_"
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "not defined" if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else markdown(str(value))


@dataclass(frozen=True)
class Verdict:
    """What a check found."""

    passed: bool
    metadata: Metadata = field(default_factory=dict)
    description: str | None = None


@dataclass(frozen=True)
class BatchCheck:
    """A check of each batch.

    Args:
        name: Its name in Dagster.
        description: What holds where it passes.
        judge: Takes the lake and a batch.
        blocking: Nothing that follows runs where no batch of a run passes.
    """

    name: str
    description: str
    judge: Callable[[Lake, str], Verdict]
    blocking: bool = True


def batch_checks(
    spec: PipelineSpec, noun: str, checks: Sequence[BatchCheck], deps: Sequence[dg.AssetKey] = ()
) -> dg.AssetChecksDefinition:
    """The checks of a partitioned asset, in one step.

    Args:
        spec: The pipeline.
        noun: The asset.
        checks: What is judged.
        deps: Other assets that must be there first.
    """
    key = asset_key(spec, noun)

    @dg.multi_asset_check(
        name=f"{spec.name}__{noun}_checks",
        specs=[
            dg.AssetCheckSpec(
                check.name,
                asset=key,
                additional_deps=deps,
                blocking=check.blocking,
                partitions_def=batches_of(spec),
                description=check.description,
            )
            for check in checks
        ],
    )
    def checked(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[Any]:
        step, store = context.op_execution_context, lake.open()
        for check in checks:
            with user_errors(pipeline=spec.name):
                verdicts = {batch: _verdict(check, store, batch) for batch in sorted(step.partition_keys)}
            if RANGE_TAG in step.run.tags:  # Dagster gives the result to a batch only in a run of one partition key
                yield from _evaluations(key, check.name, verdicts)
            yield _overall(key, check, verdicts)

    return checked


def _verdict(check: BatchCheck, lake: Lake, batch: str) -> Verdict:
    """What a check says of a batch; one that fails itself has not passed, and the other batches are judged."""
    try:
        return check.judge(lake, batch)
    except Exception as error:
        if faults.stops_all(error):
            raise
        text = str(faults.explained(error).at(batch=batch))
        return Verdict(False, {"error": text}, text)


def _evaluations(key: dg.AssetKey, name: str, verdicts: Mapping[str, Verdict]) -> Iterator[dg.AssetCheckEvaluation]:
    for batch, verdict in verdicts.items():
        yield dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=name,
            passed=verdict.passed,
            metadata=verdict.metadata,
            description=verdict.description,
            partition=batch,
        )


def _overall(key: dg.AssetKey, check: BatchCheck, verdicts: Mapping[str, Verdict]) -> dg.AssetCheckResult:
    """The verdict on a run. It stops what follows only where no batch passes: the data path keeps a refused one out."""
    failed = [batch for batch, verdict in verdicts.items() if not verdict.passed]
    first = verdicts[failed[0] if failed else next(iter(verdicts))]
    severe = check.blocking and len(failed) == len(verdicts)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=check.name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        metadata={**first.metadata, "batches": str(len(verdicts)), "failed_batches": ", ".join(failed) or "none"},
        description=first.description,
    )
