"""Checks of batches: one verdict a batch, all checks of an asset in one step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from ml_assets.errors import CheckFailed
from ml_assets.graph.batches import RANGE_TAG
from ml_assets.graph.declare import Metadata, asset_key, batches_of, hours_of
from ml_assets.lake import faults
from ml_assets.lake.lake import Lake
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import UserFailure, user_errors


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
    spec: PipelineSpec,
    asset_name: str,
    checks: Sequence[BatchCheck],
    deps: Sequence[dg.AssetKey] = (),
    by_hour: bool = False,
) -> dg.AssetChecksDefinition:
    """The checks of a partitioned asset, in one step.

    Args:
        spec: The pipeline.
        asset_name: The asset.
        checks: What is judged.
        deps: Other assets that must be there first.
        by_hour: The asset's partitions are hours, and so are the `batch`es that are judged.
    """
    key, partitions = asset_key(spec, asset_name), hours_of(spec) if by_hour else batches_of(spec)

    @dg.multi_asset_check(
        name=f"{spec.name}__{asset_name}_checks",
        specs=[
            dg.AssetCheckSpec(
                check.name,
                asset=key,
                additional_deps=deps,
                blocking=check.blocking,
                partitions_def=partitions,
                description=check.description,
            )
            for check in checks
        ],
    )
    def checked(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[Any]:
        step, store = context.op_execution_context, lake.open()
        batches = sorted(step.partition_keys)
        with user_errors(pipeline=spec.name), store.one_snapshot():
            found = [{batch: _verdict(check, store, batch) for batch in batches} for check in checks]
        made = [_overall(key, check, verdicts) for check, verdicts in zip(checks, found, strict=True)]
        for result, check, verdicts in zip(made, checks, found, strict=True):
            if RANGE_TAG in step.run.tags:  # Dagster gives the result to a batch only in a run of one partition key
                yield from _evaluations(key, check.name, verdicts)
            yield result
        stop_after(made)

    return checked


def blocking_check(
    asset: dg.AssetKey, description: str
) -> Callable[[Callable[[str, LakeResource], Verdict]], dg.AssetChecksDefinition]:
    """A check without which nothing that follows runs. It takes a run's id and the lake, and gives the check its name.

    Args:
        asset: What it judges.
        description: What holds where it passes.
    """

    def declared(judge: Callable[[str, LakeResource], Verdict]) -> dg.AssetChecksDefinition:
        name = judge.__name__

        @dg.multi_asset_check(
            name=f"{asset.to_python_identifier()}_{name}",
            specs=[dg.AssetCheckSpec(name, asset=asset, blocking=True, description=description)],
        )
        def checked(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
            with user_errors(asset=asset.to_user_string()):
                found = judge(context.op_execution_context.run.run_id, lake)
            result = dg.AssetCheckResult(
                asset_key=asset,
                check_name=name,
                passed=found.passed,
                metadata=found.metadata,
                description=found.description,
            )
            yield result
            stop_after([result])

        return checked

    return declared


def stop_after(results: Sequence[dg.AssetCheckResult]) -> None:
    """Fail the step where a blocking check does not pass. Dagster would, with a stack that says nothing of the data."""
    failed = [one for one in results if not one.passed and one.severity is dg.AssetCheckSeverity.ERROR]
    if failed:
        raise UserFailure([CheckFailed(f"The check {one.check_name} fails.", found=one.description) for one in failed])


def is_failed_check(error: SerializableErrorInfo | None) -> bool:
    """Did a step end because a blocking check did not pass?"""
    return error is not None and error.cls_name == CheckFailed.__name__


def _verdict(check: BatchCheck, lake: Lake, batch: str) -> Verdict:
    """What a check says of a batch; one that fails itself has not passed, and the other batches are judged."""
    try:
        return check.judge(lake, batch)
    except Exception as error:
        if faults.stops_all(error):
            raise
        lake.refresh()
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
