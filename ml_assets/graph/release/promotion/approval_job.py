"""The job that approves or rejects a version in the UI."""

import contextlib
from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from ml_assets.errors import LakeError
from ml_assets.graph.declare import asset_key
from ml_assets.graph.release.promotion import approvals
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import user_errors
from ml_assets.tables import versions
from ml_assets.tables.decisions import DECISIONS, Decision, pending

# Not tagged as a run of the pipeline: an approval need not wait for a training.
TAGS = {"dagster/priority": "1"}


class Approval(dg.Config):
    """Approves or rejects a version that waits for approval."""

    version: str = Field(description="The version that waits, such as 1.2.0.")
    decision: Literal["approve", "reject"] = Field(
        description="approve: it becomes the champion. reject: it never does."
    )
    # Empty ones are refused. They have a default so that the launchpad shows them, to be filled in.
    why: str = Field("", description="The reason, such as: checked the slices with Ana.")
    by: str = Field("", description="Your name or e-mail address, such as ana@example.org: this UI has no log-in.")


def approve_job(spec: PipelineSpec, paths: Paths) -> dg.JobDefinition:
    """`<pipeline>_approve`: approve or reject a version that waits (gates.approval: manual).

    Its launchpad offers the newest version that waits; as which, Dagster knows from when the definitions were loaded.
    """
    key, waiting = asset_key(spec, DECISIONS), _waiting(spec, paths)
    about = f"Approve or reject a version that waits for approval. {_listed(spec, waiting)}"
    newest: Any = next(reversed(waiting), ...)  # without one, it has to be named

    class Offered(Approval):
        version: str = Field(newest, description=_listed(spec, waiting))

    @dg.op(name=f"approve_{spec.name}", out=dg.Out(dg.Nothing), description=Approval.__doc__)
    def decide(context: dg.OpExecutionContext, config: Offered, lake: LakeResource) -> None:
        store, given = lake.open(), (config.why, config.by, context.run_id)
        with user_errors(pipeline=spec.name):
            if config.decision == "approve":
                made = approvals.approve(store, lake.paths, spec.name, config.version, *given)
            else:
                made = approvals.reject(store, lake.paths, spec.name, config.version, *given)
            current = versions.alias(store, spec.name, "champion")
        champion = current.version if current else "none"
        context.log.info(f"version {made.version} {made.decision} by {made.decided_by}: {made.why}")
        context.log_event(
            dg.AssetMaterialization(
                key,
                description=f"version {made.version} {made.decision} by {made.decided_by}",
                metadata={
                    "decision": made.decision,
                    "version": made.version,
                    "why": made.why,
                    "by": made.decided_by,
                    "champion": champion,
                    "previous_champion": made.previous_champion or "none",
                },
                tags={"dagster/data_version": champion},
            )
        )

    @dg.job(name=f"{spec.name}_approve", tags=TAGS, executor_def=dg.in_process_executor, description=about)
    def job() -> None:
        decide()

    return job


def _waiting(spec: PipelineSpec, paths: Paths) -> dict[str, Decision]:
    """Versions that wait at this moment; a lake that cannot be read says so elsewhere."""
    if spec.gates.approval == "auto" or not paths.catalog.exists():
        return {}
    with contextlib.suppress(LakeError), Lake.of(paths, read_only=True) as lake:
        return pending(lake, spec.name)
    return {}


def _listed(spec: PipelineSpec, waiting: Mapping[str, Decision]) -> str:
    if spec.gates.approval == "auto":
        return "No version waits: gates.approval is auto."
    listed = ", ".join(f"{version} (since {made.decided_at:%Y-%m-%d %H:%M} UTC)" for version, made in waiting.items())
    return f"Waiting: {listed or 'none'}, when the code location was last loaded; reload it for newer ones."
