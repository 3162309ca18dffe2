"""The sensor that redos stale batches."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import dagster as dg

from ml_assets import attention
from ml_assets.attention import Stale
from ml_assets.graph import run_requests, sensing
from ml_assets.graph.batches import unfinished_run
from ml_assets.graph.run_requests import Request, Requests
from ml_assets.graph.sensing import Found, Skip, Tick
from ml_assets.graph.staleness.facts import read_facts
from ml_assets.graph.staleness.nodes import nodes_of
from ml_assets.graph.staleness.states import AssetState, Node, Redo, evaluate, plan, spans
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec

INTERVAL_S = 30
REQUEST = "ml_assets/request"  # the tag that the repeats of a request share


def stale_sensor(
    spec: PipelineSpec, paths: Paths, job: str, assets: Iterable[dg.AssetsDefinition]
) -> dg.SensorDefinition:
    """Watch code versions and the lake; what became stale is rebuilt, from the first such batch to the last.

    It remembers the code versions and the newest snapshot that it has evaluated, so that a check of an unchanged lake
    costs a millisecond, and the requests without a result: where a run was lost, they are repeated.
    Batches that were never ingested are the business of `<pipeline>_new_data`.

    Args:
        spec: The pipeline.
        paths: Folders of the project.
        job: The ingest job.
        assets: What it may rebuild: everything up to the features.
    """
    nodes = nodes_of(one for asset in assets for one in asset.specs)
    description = "Rebuilds, in one run, whatever was made by old code or SQL or from data that has changed since."
    check = partial(_check, nodes=nodes)
    return sensing.sensor(spec, paths, "stale", check, description, INTERVAL_S, job_name=job)


def _check(tick: Tick, nodes: Mapping[str, Node]) -> Found:
    code = sensing.short_hash(sorted((node.key, node.code_version) for node in nodes.values()))
    before, snapshot = json.loads(tick.remembered() or "{}"), tick.snapshot()
    # Dagster never runs a key twice. `since` tells a return to earlier code from a run that changed nothing.
    since = before["since"] if before.get("code") == code else snapshot
    now = {"code": code, "snapshot": snapshot, "since": since}
    requested = run_requests.from_cells(
        before.get("requested") or before.get("asked", {})
    )  # as earlier versions called it
    if now == {name: before.get(name) for name in now} and not run_requests.due(requested):
        raise Skip("code and lake are unchanged since the last check")
    active = unfinished_run(tick.instance, tick.spec.name)
    if active:
        state = "about to be retried" if active.status == dg.DagsterRunStatus.FAILURE else active.status.value
        raise Skip(f"run {active.run_id} of the pipeline is {state}; the sensor checks again after it")
    return _evaluate(tick, nodes, now, requested)


def _evaluate(tick: Tick, nodes: Mapping[str, Node], now: Mapping[str, object], requested: Requests) -> Found:
    with tick.lake() as lake:
        facts = read_facts(lake, tick.spec.name)
    verdicts = evaluate(nodes, facts)
    attention.note_stale(tick.paths, tick.spec.name, unattended(verdicts, facts.batches()))
    registered = list(tick.instance.get_dynamic_partitions(f"{tick.spec.name}_batches"))
    known = set(registered)
    new = [batch for batch in facts.batches() if batch not in known]
    redos = {_key(one, verdicts, now): one for one in plan(verdicts, facts, [*registered, *new])}
    requested = {key: one for key, one in requested.items() if key in redos}
    runs, reason = [], _nothing_to_do(verdicts)
    for key, redo in redos.items():
        earlier = _newest_run(tick.instance, key)
        if earlier and earlier.status == dg.DagsterRunStatus.SUCCESS:
            requested.pop(key, None)
            reason = _without_effect(redo, earlier)
            continue
        if earlier and key not in requested:  # requested before this cursor began
            requested[key] = Request(0.0)
        if key in requested and key not in run_requests.due(requested):
            reason = f"{_what(redo)} stale as before; requested again later"
            continue
        runs.append(_run(redo, key, requested))
        if key in requested:
            tick.context.log.info(f"{_what(redo)} requested again: {runs[-1].tags['ml_assets/why']}")
        requested |= run_requests.repeated([key], requested)
    return Found(runs, reason, json.dumps({**now, "requested": run_requests.as_cells(requested)}), new)


def unattended(verdicts: Iterable[AssetState], batches: Sequence[str]) -> list[Stale]:
    """What is stale or missing and waits for a person: no sensor rebuilds it, and no training is still to come."""
    found: dict[tuple[str, str, str], list[AssetState]] = {}
    for one in verdicts:
        is_left = one.state in ("stale", "missing") and not one.redo and not one.todo.startswith(("sensor", "follows"))
        if is_left and one.why != "never made":
            found.setdefault((one.state, one.why, one.todo), []).append(one)
    return [
        Stale(
            state,
            list(dict.fromkeys(one.asset_name for one in group)),
            spans((one.batch for one in group if one.batch), batches),
            why,
            todo,
        )
        for (state, why, todo), group in found.items()
    ]


def _run(redo: Redo, key: str, requested: Requests) -> dg.RunRequest:
    assets = [dg.AssetKey.from_user_string(asset) for asset in redo.assets]
    return sensing.run(key, requested, batches=redo.batches, names=[key], tags={REQUEST: key}, assets=assets)


def _newest_run(instance: dg.DagsterInstance, key: str) -> dg.DagsterRun | None:
    """The newest run of a request and its repeats."""
    tags: tuple[dict[str, str | list[str]], ...] = ({REQUEST: key}, {"dagster/run_key": key})
    return next((run for one in tags for run in instance.get_runs(dg.RunsFilter(tags=one), limit=1)), None)


def _without_effect(redo: Redo, run: dg.DagsterRun) -> str:
    return (
        f"{_what(redo)} stale as before; run {run.run_id} was requested for that and has succeeded. "
        "Materialize it by hand, or reset this cursor."
    )


def _what(redo: Redo) -> str:
    return run_requests.named(redo.batches) or "arrivals"


def _key(redo: Redo, verdicts: Iterable[AssetState], now: Mapping[str, object]) -> str:
    """Names what is stale, since when, and today's code: the same is requested once."""
    chosen = {None, *redo.batches}
    causes = sorted(
        (verdict.asset, verdict.batch or "", verdict.why, verdict.since)
        for verdict in verdicts
        if verdict.redo and verdict.state != "behind" and verdict.batch in chosen
    )
    return "stale-" + sensing.short_hash([causes, now["code"], now["since"], redo.batches])


def _nothing_to_do(verdicts: Iterable[AssetState]) -> str:
    states = [verdict.state for verdict in verdicts]
    others = {state: states.count(state) for state in ("stale", "missing", "failed") if state in states}
    listed = ", ".join(f"{count} {state}" for state, count in others.items())
    return "nothing stale that can be rebuilt" + (f"; see `ml-assets status`: {listed}" if listed else "")
