"""The sensor that makes stale batches again."""

import hashlib
import json
from collections.abc import Iterable, Mapping

import dagster as dg

from ml_assets.errors import MLAssetsError
from ml_assets.graph import steps
from ml_assets.graph.invalidation.facts import read_facts
from ml_assets.graph.invalidation.nodes import nodes_of
from ml_assets.graph.invalidation.staleness import Node, Redo, Verdict, judge, plan
from ml_assets.spec import PipelineSpec
from ml_assets.store.connection import newest_snapshot
from ml_assets.store.lake import Lake
from ml_assets.store.paths import Paths

INTERVAL_S = 30


def stale_sensor(
    spec: PipelineSpec, paths: Paths, job: str, assets: Iterable[dg.AssetsDefinition]
) -> dg.SensorDefinition:
    """Watch code versions and the lake; what became stale is made again, from the first such batch to the last.

    Its cursor is the code versions and the newest snapshot that it has judged, so that a look at an unchanged lake
    costs a millisecond. Batches that were never ingested are the business of `<pipeline>_new_data`.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        job: The ingest job.
        assets: What it may make again: everything up to the features.
    """
    nodes = nodes_of(one for asset in assets for one in asset.specs)
    code = _hash(sorted((node.key, node.code_version) for node in nodes.values()))

    @dg.sensor(
        name=f"{spec.name}_stale",
        job_name=job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="What other code or SQL has made, or from data that has changed since, is made again in one run.",
    )
    def stale(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            snapshot = newest_snapshot(paths.lake, spec.name)
        except MLAssetsError as error:
            return dg.SkipReason(str(error))
        if snapshot is None:
            return dg.SkipReason("nothing has been ingested yet")
        cursor = json.loads(context.cursor) if context.cursor else {}
        # Dagster never runs a key twice. `since` tells a return to earlier code from a run that changed nothing.
        since = cursor["since"] if cursor.get("code") == code else snapshot
        now = {"code": code, "snapshot": snapshot, "since": since}
        if cursor == now:
            return dg.SkipReason("code and lake are as they were at the last look")
        busy = steps.unfinished_run(context.instance, spec.name)
        if busy:
            return dg.SkipReason(f"run {busy.run_id} of the pipeline is {busy.status.value}; looks again after it")
        return _look(context, spec, paths, nodes, now)

    return stale


def _look(
    context: dg.SensorEvaluationContext,
    spec: PipelineSpec,
    paths: Paths,
    nodes: Mapping[str, Node],
    now: Mapping[str, object],
) -> dg.SensorResult | dg.SkipReason:
    try:
        with Lake(paths.lake, read_only=True) as lake:
            facts = read_facts(lake, spec.name)
    except MLAssetsError as error:
        return dg.SkipReason(str(error))
    registered = list(context.instance.get_dynamic_partitions(f"{spec.name}_batches"))
    verdicts = judge(nodes, facts)
    new = [batch for batch in facts.batches() if batch not in registered]
    requests = [_request(redo, verdicts, now) for redo in plan(verdicts, facts, [*registered, *new])]
    reason = None if requests else dg.SkipReason(_nothing_to_do(verdicts))
    for request in list(requests):
        earlier = context.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": str(request.run_key)}), limit=1)
        if earlier:
            requests.remove(request)
            reason = dg.SkipReason(
                f"{request.tags.get('ml_assets/batches', 'arrivals')} stale as before; run {earlier[0].run_id} was "
                f"asked for that and is {earlier[0].status.value}. Materialize it by hand, or reset this cursor."
            )
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else reason,
        dynamic_partitions_requests=[steps.batches_of(spec).build_add_request(new)] if requests and new else [],
        cursor=json.dumps(now),
    )


def _request(redo: Redo, verdicts: Iterable[Verdict], now: Mapping[str, object]) -> dg.RunRequest:
    """The run, with a key that names what is stale, since when, and today's code: the same is asked for once."""
    causes = sorted(
        (verdict.asset, verdict.batch or "", verdict.why, verdict.since)
        for verdict in verdicts
        if verdict.redo and verdict.state != "behind" and (verdict.batch is None or verdict.batch in redo.batches)
    )
    tags = {"ml_assets/batches": ", ".join(redo.batches)} if redo.batches else {}
    if redo.batches:
        tags["dagster/asset_partition_range_start"] = redo.batches[0]
        tags["dagster/asset_partition_range_end"] = redo.batches[-1]
    return dg.RunRequest(
        run_key="stale-" + _hash([causes, now["code"], now["since"], redo.batches]),
        tags=tags,
        asset_selection=[dg.AssetKey.from_user_string(key) for key in redo.assets],
    )


def _nothing_to_do(verdicts: Iterable[Verdict]) -> str:
    states = [verdict.state for verdict in verdicts]
    others = {state: states.count(state) for state in ("stale", "missing", "failed") if state in states}
    listed = ", ".join(f"{count} {state}" for state, count in others.items())
    return "nothing stale that can be made again" + (f"; see `ml-assets status`: {listed}" if listed else "")


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
