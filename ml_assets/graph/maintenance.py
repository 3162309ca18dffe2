"""The lake's maintenance as a job, and its schedule. No stage of the graph: it makes no asset."""

from typing import Any

import dagster as dg

from ml_assets.graph import declare
from ml_assets.lake.lake import Commit, Lake
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import prediction_log
from ml_assets.tables.maintenance import run_maintenance
from ml_assets.tables.prediction_log import PREDICTION_LOG

# Behind everything else in the queue. Not tagged as a run of the pipeline: those wait for each other, this need not.
TAGS = {"dagster/priority": "-1"}


def maintenance_job(spec: PipelineSpec) -> dg.JobDefinition:
    """`<pipeline>_maintenance`: merge small files, expire unneeded snapshots, remove files that nothing names."""

    @dg.op(name=f"maintain_{spec.name}", out=dg.Out(dg.Nothing))
    def maintenance(context: dg.OpExecutionContext, lake: LakeResource) -> None:
        store = lake.open()
        with user_errors(pipeline=spec.name):
            if not store.catalog.exists() or not any(name.startswith(f"{spec.name}.") for name in store.tables()):
                context.log.info("nothing has been written yet")
                return
            _forget(context, store, spec)
            done = run_maintenance(store, spec.name, spec.maintenance.keep_days, context.run_id)
        found: dict[str, Any] = {**done.__dict__, "snapshots": len(done.snapshots), "seconds": round(done.seconds, 3)}
        context.log.info(", ".join(f"{name} {value:,}" for name, value in found.items()))
        context.add_output_metadata(found)

    @dg.job(
        name=f"{spec.name}_maintenance",
        tags=TAGS,
        executor_def=dg.in_process_executor,
        description=maintenance_job.__doc__,
    )
    def job() -> None:
        maintenance()

    return job


def _forget(context: dg.OpExecutionContext, lake: Lake, spec: PipelineSpec) -> None:
    """Delete what servers logged before `serving.log.keep_days`, and its partitions."""
    if spec.serving.log is None or spec.serving.log.keep_days is None:
        return
    commit = Commit(PREDICTION_LOG.asset(spec.name), context.run_id)
    before = prediction_log.forget(lake, spec.name, spec.serving.log.keep_days, commit)
    partitions = str(declare.hours_of(spec).name)
    for hour in context.instance.get_dynamic_partitions(partitions):
        if hour < before:
            context.instance.delete_dynamic_partition(partitions, hour)


def maintenance_schedule(spec: PipelineSpec) -> list[dg.ScheduleDefinition]:
    """The schedule of `maintenance.cron`, unless it is null."""
    if spec.maintenance.cron is None:
        return []
    return [
        dg.ScheduleDefinition(
            name=f"{spec.name}_maintenance",
            job_name=f"{spec.name}_maintenance",
            cron_schedule=spec.maintenance.cron,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    ]
