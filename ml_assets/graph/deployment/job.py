"""The job that deploys the champion: started by the sensor, or by hand after something was fixed."""

import dagster as dg

from ml_assets.errors import ServingError
from ml_assets.graph import declare
from ml_assets.graph.deployment.deploy import deploy, newest_move
from ml_assets.lake.lake import Commit
from ml_assets.reporting.markdown import markdown_table
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import UserFailure, user_errors
from ml_assets.tables import deployments

# Not tagged as a run of the pipeline: a deployment need not wait for a training.
TAGS = {"dagster/priority": "1"}
LOCK_TIMEOUT_S = 600


def deploy_job(spec: PipelineSpec) -> dg.JobDefinition:
    """`<pipeline>_deploy`: verify the champion's release, publish it, notify servers and webhook (`deploy`)."""

    @dg.op(name=f"deploy_{spec.name}", out=dg.Out(dg.Nothing))
    def deploy_champion(context: dg.OpExecutionContext, lake: LakeResource) -> None:
        store = lake.open()
        # Two at once could leave the older version as the published champion. The newest move counts, not the run's.
        with (
            user_errors(pipeline=spec.name),
            store.catalog.lock(f"{spec.name}.deploy", LOCK_TIMEOUT_S, "deploying"),
        ):
            move = newest_move(store, spec.name)
            done = deploy(store, lake.paths, spec, move)
            triggered_by = declare.triggered_by(context.run.tags)
            commit = Commit(deployments.DEPLOYMENTS.asset(spec.name), context.run_id, triggered_by=triggered_by)
            deployments.record(store, spec.name, move, done, commit)
        for step in done:
            log = context.log.info if step.ok else context.log.error
            log(f"{step.step} {step.target}: {step.detail}")
        shown = [{"step": s.step, "target": s.target, "ok": s.ok, "detail": s.detail[:200]} for s in done]
        context.add_output_metadata(
            {
                "version": move.version,
                "previous": move.previous or "none",
                "why": move.why,
                "by": move.by,
                "steps": dg.MetadataValue.md(markdown_table(shown)),
            }
        )
        failed = [step for step in done if not step.ok]
        if failed:
            listed = "; ".join(f"{step.step} {step.target}: {step.detail}" for step in failed)
            error = ServingError(
                f"Version {move.version} is not deployed everywhere.",
                found=listed,
                where={"pipeline": spec.name},
                fix=f"Fix it, then run the job {spec.name}_deploy again: what is done is skipped.",
            )
            raise UserFailure([error])

    @dg.job(name=f"{spec.name}_deploy", tags=TAGS, executor_def=dg.in_process_executor, description=deploy_job.__doc__)
    def job() -> None:
        deploy_champion()

    return job
