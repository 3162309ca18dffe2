"""The sensor that deploys a new champion, and has it score what was never scored."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import dagster as dg

from ml_assets.graph import run_requests, sensing
from ml_assets.graph.batches import UNFINISHED, unfinished_run
from ml_assets.graph.deployment.backlog import backlog, without_result
from ml_assets.graph.run_requests import Requests
from ml_assets.graph.sensing import Found, Skip, Tick
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec
from ml_assets.tables import deployments, ingest_errors
from ml_assets.tables.deployments import Move
from ml_assets.tables.predictions import PREDICTIONS


@dataclass(frozen=True)
class ReleaseProgress:
    """What the sensor has dealt with.

    Args:
        snapshot: The newest snapshot that it has read.
        backlog: The newest snapshot in which it has checked for batches to score.
        moved_at: The newest move of the champion's alias.
        deploying: That move's deployment, until it is recorded.
        requested: Batches that were requested since that move, until they are scored.
        failed: Those of them that failed: each is requested once under each champion.
    """

    snapshot: int | None = None
    backlog: int | None = None
    moved_at: str = ""
    deploying: Requests = field(default_factory=dict)
    requested: Requests = field(default_factory=dict)
    failed: Sequence[str] = ()
    REQUESTS: ClassVar = ("deploying", "requested")

    @classmethod
    def read(cls, text: str | None) -> "ReleaseProgress":
        """The progress from its text."""
        seen = json.loads(text or "{}")
        if "asked" in seen:  # as earlier versions called it
            seen["requested"] = seen.pop("asked")
        return cls(**{**seen, **{name: run_requests.from_cells(seen.get(name, {})) for name in cls.REQUESTS}})

    def write(self) -> str:
        """As text."""
        cells = {name: run_requests.as_cells(getattr(self, name)) for name in self.REQUESTS}
        return json.dumps({**self.__dict__, **cells})


@dataclass(frozen=True)
class Observed:
    """What the lake shows of moves and scores.

    Args:
        moves: Of the champion's alias, oldest first.
        waiting: Batches that no champion has scored; none while a run may be scoring them.
        failed_at: Batch -> when its scoring last failed, in seconds since 1970.
        is_deployed: Has the newest move's deployment been recorded, where that is waited for?
    """

    moves: Sequence[Move]
    waiting: Sequence[str]
    failed_at: Mapping[str, float]
    is_deployed: bool


def release_sensor(
    spec: PipelineSpec, paths: Paths, jobs: Sequence[Any], after_champion: Sequence[dg.AssetKey]
) -> dg.SensorDefinition:
    """Watch the champion's alias, and the batches that no champion has scored.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        jobs: The deploy job and the ingest job.
        after_champion: Assets of the ingest job that need a champion.
    """
    deploy_job, ingest_job = (job.name for job in jobs)

    def check(tick: Tick) -> Found:
        before, snapshot = ReleaseProgress.read(tick.remembered()), tick.snapshot()
        undeployed, scores_due = (
            _undeployed(tick.instance, deploy_job, before.deploying),
            run_requests.due(before.requested),
        )
        is_known = before.snapshot == snapshot and not undeployed
        if is_known and before.backlog == snapshot and not scores_due:
            raise Skip("the lake is unchanged since the last check")
        active = unfinished_run(tick.instance, spec.name)
        if is_known and active:
            raise Skip(f"checks for batches that were never scored after run {active.run_id}")
        seen = _observe(tick, bool(active), bool(scores_due), bool(undeployed))
        now, new, undeployed = _progress(before, seen, bool(active), undeployed)
        now = replace(now, snapshot=snapshot, backlog=before.backlog if active else snapshot)
        chosen = [b for b in seen.waiting if b not in now.failed and (b not in now.requested or b in scores_due)]
        lost = {batch: now.requested[batch] for batch in chosen if batch in now.requested}
        batches, unregistered = tick.neighbours(chosen)
        runs = [_deployment(deploy_job, new or seen.moves[-1:], undeployed)] if new or undeployed else []
        runs += [_scoring(ingest_job, seen.moves[-1], some, after_champion, lost) for some in batches]
        for move in new:
            tick.context.log.info(f"champion {move.version}, before {move.previous or 'none'}: {move.why} ({move.by})")
        now = replace(now, requested=now.requested | run_requests.repeated(chosen, lost))
        return Found(runs, _nothing(seen.moves), now.write(), unregistered)

    description = f"Starts {deploy_job} when the champion changes, and {ingest_job} for batches that were never scored."
    return sensing.sensor(spec, paths, "release", check, description, jobs=list(jobs))


def _observe(tick: Tick, is_active: bool, scores_due: bool, is_undeployed: bool) -> Observed:
    with tick.lake() as lake:
        moves = deployments.moves(lake, tick.spec.name)
        return Observed(
            moves,
            # What a run is about to score is no backlog.
            [] if is_active else backlog(lake, tick.spec.name),
            ingest_errors.newest(lake, tick.spec.name, PREDICTIONS) if scores_due else {},
            is_undeployed and deployments.is_recorded(lake, tick.spec.name, moves[-1]),
        )


def _progress(
    before: ReleaseProgress, seen: Observed, is_active: bool, undeployed: Requests
) -> tuple[ReleaseProgress, list[Move], Requests]:
    """The progress with what the lake shows, the moves that are new, and the deployment to be repeated."""
    new = [move for move in seen.moves if move.moved_at.isoformat() > before.moved_at]
    moved_at = seen.moves[-1].moved_at.isoformat() if seen.moves else ""
    if new:
        return ReleaseProgress(moved_at=moved_at, deploying=run_requests.repeated([moved_at], {})), new, {}
    if undeployed and seen.is_deployed:
        before, undeployed = replace(before, deploying={}), {}
    if not is_active:
        requested, failed = without_result(seen.waiting, before.requested, before.failed, seen.failed_at)
        before = replace(before, requested=requested, failed=failed)
    deploying = before.deploying | run_requests.repeated(undeployed, undeployed)
    return replace(before, moved_at=moved_at, deploying=deploying), [], undeployed


def _undeployed(instance: dg.DagsterInstance, job: str, deploying: Requests) -> Requests:
    """The deployment whose result should be there by now, if no run of the job is under way."""
    due = run_requests.due(deploying)
    under_way = due and instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED), limit=1)
    return {} if under_way else due


def _deployment(job: str, new: Sequence[Move], lost: Requests) -> dg.RunRequest:
    """One run for the newest move; it says which others came before it since the last check."""
    newest = new[-1]
    others = ", ".join(move.version for move in new[:-1])
    tags = {"ml_assets/version": newest.version, "ml_assets/why": newest.why}
    tags |= {"ml_assets/overtaken": others} if others else {}
    key = f"deploy-{newest.version}-{newest.moved_at.isoformat()}"
    return sensing.run(key, lost, names=list(lost), tags=tags, job=job)


def _scoring(
    job: str, since: Move, batches: Sequence[str], assets: Sequence[dg.AssetKey], lost: Requests
) -> dg.RunRequest:
    """A run for neighbouring batches; its key names them and the move, so that a lost cursor requests nothing twice."""
    cause = {"version": since.version, "moved_at": since.moved_at.isoformat(), "batches": batches}
    tags = {"ml_assets/why": f"never scored; champion {since.version}"}
    key = f"backlog-{sensing.short_hash(cause)}"
    return sensing.run(key, lost, batches=batches, tags=tags, assets=assets, job=job)


def _nothing(moves: Sequence[Move]) -> str:
    return f"the champion is still {moves[-1].version}" if moves else "there is no champion yet"
