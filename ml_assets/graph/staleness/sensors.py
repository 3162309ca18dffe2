"""The sensor that makes stale batches again."""

import hashlib
import json
from collections.abc import Iterable, Mapping

import dagster as dg

from ml_assets.errors import MLAssetsError
from ml_assets.graph import declare, requests
from ml_assets.graph.batches import unfinished_run
from ml_assets.graph.requests import Request, Requests
from ml_assets.graph.staleness.facts import read_facts
from ml_assets.graph.staleness.nodes import nodes_of
from ml_assets.graph.staleness.states import Node, Redo, Verdict, judge, plan
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec

INTERVAL_S = 30
REQUEST = "ml_assets/request"  # the tag that the repeats of a request share


def stale_sensor(
    spec: PipelineSpec, paths: Paths, job: str, assets: Iterable[dg.AssetsDefinition]
) -> dg.SensorDefinition:
    """Watch code versions and the lake; what became stale is made again, from the first such batch to the last.

    Its cursor is the code versions and the newest snapshot that it has judged, so that a look at an unchanged lake
    costs a millisecond, and the requests without a result: where a run was lost, they are repeated.
    Batches that were never ingested are the business of `<pipeline>_new_data`.

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
            snapshot = paths.catalog.newest_snapshot(spec.name)
        except MLAssetsError as error:
            return dg.SkipReason(str(error))
        if snapshot is None:
            return dg.SkipReason("nothing has been ingested yet")
        cursor = json.loads(context.cursor) if context.cursor else {}
        # Dagster never runs a key twice. `since` tells a return to earlier code from a run that changed nothing.
        since = cursor["since"] if cursor.get("code") == code else snapshot
        now = {"code": code, "snapshot": snapshot, "since": since}
        asked = requests.from_cells(cursor.get("asked", {}))
        if now == {name: cursor.get(name) for name in now} and not requests.due(asked):
            return dg.SkipReason("code and lake are as they were at the last look")
        busy = unfinished_run(context.instance, spec.name)
        if busy:
            state = "about to be retried" if busy.status == dg.DagsterRunStatus.FAILURE else busy.status.value
            return dg.SkipReason(f"run {busy.run_id} of the pipeline is {state}; looks again after it")
        return _look(context, spec, paths, nodes, now, asked)

    return stale


def _look(
    context: dg.SensorEvaluationContext,
    spec: PipelineSpec,
    paths: Paths,
    nodes: Mapping[str, Node],
    now: Mapping[str, object],
    asked: Requests,
) -> dg.SensorResult | dg.SkipReason:
    try:
        with Lake(paths.lake, read_only=True) as lake:
            facts = read_facts(lake, spec.name)
    except MLAssetsError as error:
        return dg.SkipReason(str(error))
    registered = list(context.instance.get_dynamic_partitions(f"{spec.name}_batches"))
    verdicts = judge(nodes, facts)
    new = [batch for batch in facts.batches() if batch not in registered]
    redos = {_key(redo, verdicts, now): redo for redo in plan(verdicts, facts, [*registered, *new])}
    asked = {key: one for key, one in asked.items() if key in redos}
    runs, reason = [], _nothing_to_do(verdicts)
    for key, redo in redos.items():
        earlier = _newest_run(context.instance, key)
        if earlier and earlier.status == dg.DagsterRunStatus.SUCCESS:
            asked.pop(key, None)
            reason = _without_effect(redo, earlier)
            continue
        if earlier and key not in asked:  # requested before this cursor began
            asked[key] = Request(0.0)
        if key in asked and key not in requests.due(asked):
            reason = f"{_what(redo)} stale as before; requested again later"
            continue
        runs.append(_request(redo, key, asked))
        if key in asked:
            context.log.info(f"{_what(redo)} requested again: {runs[-1].tags['ml_assets/why']}")
        asked |= requests.repeated([key], asked)
    return dg.SensorResult(
        run_requests=runs,
        skip_reason=None if runs else dg.SkipReason(reason),
        dynamic_partitions_requests=[declare.batches_of(spec).build_add_request(new)] if runs and new else [],
        cursor=json.dumps({**now, "asked": requests.as_cells(asked)}),
    )


def _newest_run(instance: dg.DagsterInstance, key: str) -> dg.DagsterRun | None:
    """The newest run of a request and its repeats."""
    tags: tuple[dict[str, str | list[str]], ...] = ({REQUEST: key}, {"dagster/run_key": key})
    return next((run for one in tags for run in instance.get_runs(dg.RunsFilter(tags=one), limit=1)), None)


def _without_effect(redo: Redo, run: dg.DagsterRun) -> str:
    return (
        f"{_what(redo)} stale as before; run {run.run_id} was asked for that and has succeeded. "
        "Materialize it by hand, or reset this cursor."
    )


def _what(redo: Redo) -> str:
    return requests.named(redo.batches) or "arrivals"


def _key(redo: Redo, verdicts: Iterable[Verdict], now: Mapping[str, object]) -> str:
    """Names what is stale, since when, and today's code: the same is asked for once."""
    causes = sorted(
        (verdict.asset, verdict.batch or "", verdict.why, verdict.since)
        for verdict in verdicts
        if verdict.redo and verdict.state != "behind" and (verdict.batch is None or verdict.batch in redo.batches)
    )
    return "stale-" + _hash([causes, now["code"], now["since"], redo.batches])


def _request(redo: Redo, key: str, asked: Requests) -> dg.RunRequest:
    tags = {REQUEST: key, **requests.why([key], asked)}
    if redo.batches:
        tags["ml_assets/batches"] = ", ".join(redo.batches)
        tags["dagster/asset_partition_range_start"] = redo.batches[0]
        tags["dagster/asset_partition_range_end"] = redo.batches[-1]
    return dg.RunRequest(
        run_key=requests.run_key(key, [key], asked),
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
