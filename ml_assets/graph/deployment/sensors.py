"""The sensor that deploys a new champion, and has it score what nobody has scored."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import duckdb

from ml_assets.errors import MLAssetsError
from ml_assets.graph import declare, requests
from ml_assets.graph.batches import UNFINISHED, ranges, unfinished_run
from ml_assets.graph.deployment.backlog import backlog, without_result
from ml_assets.graph.requests import Requests
from ml_assets.graph.sensor_memory import Memory
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec
from ml_assets.tables import deployments, ingest_errors
from ml_assets.tables.deployments import Move
from ml_assets.tables.predictions import PREDICTIONS

INTERVAL_S = 5


def release_sensor(
    spec: PipelineSpec, paths: Paths, jobs: Sequence[Any], after_champion: Sequence[dg.AssetKey]
) -> dg.SensorDefinition:
    """Watch the champion's alias, and the batches that no champion has scored.

    Its cursor: the newest snapshot that it has read (`snapshot`), and in which it has looked for batches (`backlog`);
    the newest move (`moved_at`), its deployment until that is recorded (`deploying`), the batches that it has requested
    since (`asked`), and those of them that failed (`failed`): one that cannot be scored is requested once under each
    champion. A request whose run was lost is repeated (requests.py).

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        jobs: The deploy job and the ingest job.
        after_champion: Assets of the ingest job that need a champion.
    """
    deploy_job, ingest_job = jobs
    memory = Memory(paths.sensors / f"{spec.name}_release")

    @dg.sensor(
        name=f"{spec.name}_release",
        jobs=list(jobs),
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"A new champion starts one run of {deploy_job.name}; batches that nobody has scored, one of "
        f"{ingest_job.name}.",
    )
    def release(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        seen = json.loads(memory.read(context.cursor) or "{}")
        asked, deploying = (requests.from_cells(seen.get(name, {})) for name in ("asked", "deploying"))
        failed = seen.get("failed", [])
        try:
            snapshot = paths.catalog.newest_snapshot(spec.name)
            if snapshot is None:
                return dg.SkipReason("nothing has been ingested yet")
            undeployed = _undeployed(context.instance, deploy_job.name, deploying)
            scores_due = requests.due(asked)
            is_known = seen.get("snapshot") == snapshot and not undeployed
            if is_known and seen.get("backlog") == snapshot and not scores_due:
                return dg.SkipReason("the lake is as it was at the last look")
            # What a run is about to score is no backlog.
            busy = unfinished_run(context.instance, spec.name)
            if is_known and busy:
                return dg.SkipReason(f"looks for batches that nobody has scored after run {busy.run_id}")
            with Lake(paths.lake, read_only=True) as lake:
                moves = deployments.moves(lake, spec.name)
                waiting = [] if busy else backlog(lake, spec.name)
                failed_at = ingest_errors.newest(lake, spec.name, PREDICTIONS) if scores_due else {}
                if undeployed and deployments.is_recorded(lake, spec.name, moves[-1]):
                    undeployed = deploying = {}
        except (duckdb.Error, MLAssetsError) as error:
            return dg.SkipReason(f"the lake cannot be read now: {error}")
        new = [move for move in moves if move.moved_at.isoformat() > seen.get("moved_at", "")]
        for move in new:
            context.log.info(f"champion {move.version}, before {move.previous or 'none'}: {move.why} ({move.by})")
        if new:
            asked, failed, undeployed = {}, [], {}
            deploying = requests.repeated([new[-1].moved_at.isoformat()], {})
        elif not busy:
            asked, failed = without_result(waiting, asked, failed, failed_at)
        deploying = deploying | requests.repeated(undeployed, undeployed)
        wanted = [batch for batch in waiting if batch not in failed and (batch not in asked or batch in scores_due)]
        lost = {batch: asked[batch] for batch in wanted if batch in asked}
        registered = list(context.instance.get_dynamic_partitions(f"{spec.name}_batches"))
        missing = [batch for batch in wanted if batch not in registered]
        runs = [_deployment(deploy_job.name, new or moves[-1:], undeployed)] if new or undeployed else []
        runs += [
            _scoring(ingest_job.name, moves[-1], batches, after_champion, lost)
            for batches in ranges([*registered, *missing], wanted)
        ]
        cursor = {
            "snapshot": snapshot,
            "backlog": seen.get("backlog") if busy else snapshot,
            "moved_at": moves[-1].moved_at.isoformat() if moves else "",
            "asked": requests.as_cells(asked | requests.repeated(wanted, lost)),
            "failed": failed,
            "deploying": requests.as_cells(deploying),
        }
        return dg.SensorResult(
            run_requests=runs,
            skip_reason=None if runs else dg.SkipReason(_nothing(moves)),
            dynamic_partitions_requests=[declare.batches_of(spec).build_add_request(missing)] if missing else [],
            cursor=memory.write(json.dumps(cursor), context.cursor),
        )

    return release


def _undeployed(instance: dg.DagsterInstance, job: str, deploying: Requests) -> Requests:
    """The deployment whose result should be there by now, if no run of the job is under way."""
    due = requests.due(deploying)
    under_way = due and instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED), limit=1)
    return {} if under_way else due


def _deployment(job: str, new: Sequence[Move], lost: Requests) -> dg.RunRequest:
    """One run for the newest move; it says which others came before it since the last look."""
    newest = new[-1]
    others = ", ".join(move.version for move in new[:-1])
    tags = {"ml_assets/version": newest.version, "ml_assets/why": newest.why}
    key = f"deploy-{newest.version}-{newest.moved_at.isoformat()}"
    return dg.RunRequest(
        run_key=requests.run_key(key, lost, lost),
        job_name=job,
        tags=tags | ({"ml_assets/overtaken": others} if others else {}) | requests.why(lost, lost),
    )


def _scoring(
    job: str, since: Move, batches: Sequence[str], assets: Sequence[dg.AssetKey], lost: Requests
) -> dg.RunRequest:
    """A run for neighbouring batches; its key names them and the move, so that a lost cursor asks for nothing twice."""
    named: Mapping[str, Any] = {"version": since.version, "moved_at": since.moved_at, "batches": batches}
    key = hashlib.sha256(json.dumps(named, default=dt.datetime.isoformat).encode()).hexdigest()[:16]
    return dg.RunRequest(
        run_key=requests.run_key(f"backlog-{key}", batches, lost),
        job_name=job,
        asset_selection=list(assets),
        tags={
            "dagster/asset_partition_range_start": batches[0],
            "dagster/asset_partition_range_end": batches[-1],
            "ml_assets/batches": ", ".join(batches),
            "ml_assets/why": f"nobody has scored them; champion {since.version}",
            **requests.why(batches, lost),
        },
    )


def _nothing(moves: Sequence[Move]) -> str:
    return f"the champion is still {moves[-1].version}" if moves else "there is no champion yet"
