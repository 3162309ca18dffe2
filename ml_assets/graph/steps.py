"""What the steps of every stage share: how an asset is declared, how batches of one run are walked, how errors show.

Dagster marks every batch of a run as materialized or none. A batch that is refused while others of the same run pass
is therefore materialized with the metadata `refused`, its checks fail, its earlier rows stay; where no batch of a
run passes, the step fails.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from ml_assets.errors import MLAssetsError
from ml_assets.spec import PipelineSpec
from ml_assets.store.lake import Commit, Written
from ml_assets.store.paths import Paths

Metadata = dict[str, Any]
RANGE_TAG = "dagster/asset_partition_range_start"
ENV_REPORTS_URL = "ML_ASSETS_REPORTS_URL"


def batches_of(spec: PipelineSpec) -> dg.DynamicPartitionsDefinition:
    """The partitions of a pipeline: one per batch."""
    return dg.DynamicPartitionsDefinition(name=f"{spec.name}_batches")


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
    return Commit(asset=key.to_user_string(), run_id=context.run.run_id, code_version=version, batch=batch)


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
    except MLAssetsError as error:
        raise failure([error.at(**where)]) from None


def failure(errors: Sequence[MLAssetsError]) -> dg.Failure:
    """A failed step that says what the errors say; a retry would fail again."""
    text = "\n".join(str(error) for error in errors)
    failed = dg.Failure(
        description=text, metadata={"error": dg.MetadataValue.md(f"```\n{text}\n```")}, allow_retries=False
    )
    return failed.with_traceback(None)


def each_batch(
    context: dg.AssetExecutionContext,
    keys: Sequence[dg.AssetKey],
    work: Callable[[str], Mapping[dg.AssetKey, Result]],
) -> Iterator[dg.MaterializeResult[Any]]:
    """Do the work for each batch of the run, in order; a refused one never stops the others.

    Args:
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
        except MLAssetsError as error:
            error.at(pipeline=pipeline, batch=batch)
            errors.append(error)
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
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


@dataclass(frozen=True)
class Verdict:
    """What a check found."""

    passed: bool
    metadata: Metadata = field(default_factory=dict)
    description: str | None = None


def verdicts_by_batch(
    context: dg.AssetCheckExecutionContext,
    key: dg.AssetKey,
    judges: Mapping[str, Callable[[str], Verdict]],
    warnings: Sequence[str] = (),
) -> Iterator[dg.AssetCheckResult | dg.AssetCheckEvaluation]:
    """Run checks for each batch of the run.

    A blocking check stops what follows only where no batch passes: the data path itself keeps a refused batch out.

    Args:
        context: The step.
        key: Asset that is checked.
        judges: Check name -> its verdict on a batch.
        warnings: Checks that only ever warn.
    """
    step = context.op_execution_context
    batches = sorted(step.partition_keys)
    is_range = RANGE_TAG in step.run.tags
    for name, judge in judges.items():
        verdicts = {batch: judge(batch) for batch in batches}
        for batch, verdict in verdicts.items():
            if is_range:  # Dagster gives the result below to a batch only in a run of one partition key
                yield dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name=name,
                    passed=verdict.passed,
                    metadata=verdict.metadata,
                    description=verdict.description,
                    partition=batch,
                )
        failed = [batch for batch, verdict in verdicts.items() if not verdict.passed]
        first = verdicts[failed[0] if failed else batches[0]]
        severe = len(failed) == len(batches) and name not in warnings
        severity = dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=name,
            passed=not failed,
            severity=severity,
            metadata={**first.metadata, "batches": len(batches), "failed_batches": ", ".join(failed) or "none"},
            description=first.description,
        )
