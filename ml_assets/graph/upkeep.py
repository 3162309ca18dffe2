"""The lake's upkeep as a job, and its schedule. No stage of the graph: it makes no asset."""

from typing import Any

import dagster as dg

from ml_assets.graph.steps import user_errors
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.store.upkeep import keep_up

# Behind everything else in the queue. Not tagged as a run of the pipeline: those wait for each other, this need not.
TAGS = {"dagster/priority": "-1"}


def upkeep_job(spec: PipelineSpec) -> dg.JobDefinition:
    """`<pipeline>_upkeep`: merge small files, expire snapshots that nothing needs, remove files that nothing names."""

    @dg.op(name=f"keep_up_{spec.name}", out=dg.Out(dg.Nothing))
    def upkeep(context: dg.OpExecutionContext, lake: LakeResource) -> None:
        store = lake.open()
        with user_errors(pipeline=spec.name):
            if not store.is_there() or not any(name.startswith(f"{spec.name}.") for name in store.tables()):
                context.log.info("nothing has been written yet")
                return
            done = keep_up(store, spec.name, spec.upkeep.keep_days, context.run_id)
        found: dict[str, Any] = {**done.__dict__, "snapshots": len(done.snapshots), "seconds": round(done.seconds, 3)}
        context.log.info(", ".join(f"{name} {value:,}" for name, value in found.items()))
        context.add_output_metadata(found)

    @dg.job(name=f"{spec.name}_upkeep", tags=TAGS, executor_def=dg.in_process_executor, description=upkeep_job.__doc__)
    def job() -> None:
        upkeep()

    return job


def upkeep_schedule(spec: PipelineSpec) -> list[dg.ScheduleDefinition]:
    """The schedule of `upkeep.cron`, unless it is null."""
    if spec.upkeep.cron is None:
        return []
    return [
        dg.ScheduleDefinition(
            name=f"{spec.name}_upkeep",
            job_name=f"{spec.name}_upkeep",
            cron_schedule=spec.upkeep.cron,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    ]
