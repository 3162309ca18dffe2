"""The steps that follow a move of the champion's alias. One that fails stops no other, but for an unsound release:
that is neither published nor announced. All of it may be repeated at any time, and changes nothing that is done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_assets.errors import MLAssetsError
from ml_assets.escaping import host_of, without_secrets
from ml_assets.graph import webhook
from ml_assets.graph.deployment.publication import publish
from ml_assets.graph.mlflow_server import connected, move_champion, shown
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.ml import bundle, manifest
from ml_assets.sources.remote import is_url
from ml_assets.spec import PipelineSpec
from ml_assets.tables import deployments, releases, versions
from ml_assets.tables.deployments import Move, Step

SERVER_S = 30.0  # for a server to serve the new version
LOADING_S = 30.0  # for its reply to reload, which comes when the release is loaded
POLL_S = 0.5
ENV_KEY = "ML_ASSETS_API_KEY"
PAUSES_S = (1.0, 4.0)  # between the attempts at the webhook


@dataclass(frozen=True)
class ChampionRelease:
    """The champion's release folder, verified."""

    folder: Path
    sha256: str


def newest_move(lake: Lake, pipeline: str) -> Move:
    """The move that made the champion.

    Raises:
        ModelError: There is no champion.
    """
    versions.need_alias(lake, pipeline, "champion")
    return deployments.moves(lake, pipeline)[-1]


def deploy(lake: Lake, paths: Paths, spec: PipelineSpec, move: Move) -> list[Step]:
    """Verify, publish, notify servers, MLflow and webhook. What fails is a step that says so; nothing is raised."""
    place = _place(spec, paths)
    try:
        release = find_release(lake, paths, spec.name, move.version)
    except (MLAssetsError, OSError, ValueError, KeyError) as error:
        found = str(error) if isinstance(error, MLAssetsError) else f"{type(error).__name__}: {error}"
        return [
            Step("verify", move.version, False, found),
            *(
                Step(step, target, False, "not done: the release is not sound")
                for step, target in _configured(spec, place)
            ),
        ]
    files = sum(1 for path in release.folder.rglob("*") if path.is_file())
    steps = [Step("verify", move.version, True, f"bundle and release ({files} files) are as their manifests say")]
    if place is not None:
        steps.append(_publish(release, place, spec.name, move))
    with ThreadPoolExecutor(max_workers=8) as pool:
        steps += pool.map(lambda address: notify_server(address, spec.name, move.version), spec.deploy.servers)
    if spec.tracking is not None:
        steps.append(move_in_mlflow(spec.tracking.mlflow, spec.name, move.version))
    if spec.deploy.webhook is not None:
        published = place if place is not None and steps[1].ok else None
        folder = f"{published}/{move.version}" if published else str(release.folder)
        steps.append(_notify_webhook(lake, spec, move, {"release": folder, "sha256": release.sha256}))
    return steps


def find_release(lake: Lake, paths: Paths, pipeline: str, version: str) -> ChampionRelease:
    """The newest release of a version, after every file of it and of the bundle was compared with its manifest.

    Raises:
        ModelError: A file is missing, changed or unknown, or the version was never packed.
    """
    model = versions.need_version(lake, pipeline, version)
    for one in releases.models(lake, pipeline, model):
        bundle.verify(paths.artifacts.bundles.fetch(one.bundle), one.bundle_sha256)
    found = releases.need(lake, pipeline, version)
    manifest.verify(paths.artifacts.releases.fetch(found.folder), found.sha256, "release")
    return ChampionRelease(paths.artifacts.releases.fetch(found.folder), found.sha256)


def _place(spec: PipelineSpec, paths: Paths) -> str | None:
    """Where releases of the pipeline are published."""
    if spec.deploy.publish is None:
        return None
    place = spec.deploy.publish if is_url(spec.deploy.publish) else str(paths.resolve(spec.deploy.publish))
    return f"{place.rstrip('/')}/{spec.name}"


def _configured(spec: PipelineSpec, place: str | None) -> Iterator[tuple[Any, str]]:
    """Step and target of all that the YAML configures."""
    if place is not None:
        yield "publish", without_secrets(place)
    for address in spec.deploy.servers:
        yield "server", without_secrets(address)
    if spec.tracking is not None:
        yield "mlflow", shown(spec.tracking.mlflow)
    if spec.deploy.webhook is not None:
        yield "webhook", host_of(spec.deploy.webhook)


def _publish(release: ChampionRelease, place: str, pipeline: str, move: Move) -> Step:
    champion = {
        "pipeline": pipeline,
        "version": move.version,
        "sha256": release.sha256,
        "previous": move.previous,
        "why": move.why,
        "by": move.by,
        "moved_at": move.moved_at.isoformat(),
    }
    target = without_secrets(place)
    try:
        done = publish(release.folder, release.sha256, place, move.version, champion)
    except MLAssetsError as error:
        return Step("publish", target, False, without_secrets(str(error)))
    return Step("publish", target, True, f"{move.version} {done}, champion.json names it")


def notify_server(address: str, pipeline: str, version: str, wait_s: float = SERVER_S) -> Step:
    """Request that a server checks for the champion at once, and wait until it replies with the version.

    A server that does not reload for us is only waited for: ours checks the lake every two seconds by itself. Where it
    has API keys, $ML_ASSETS_API_KEY is one with the scope admin.
    """
    base, target = address.rstrip("/"), without_secrets(address)
    deadline = time.monotonic() + wait_s
    reloaded = webhook.ask(f"{base}/v1/{pipeline}/reload", {}, LOADING_S, key=os.environ.get(ENV_KEY))
    if reloaded.facts.get("pinned") and reloaded.facts.get("version") != version:
        found = (
            f"it serves {reloaded.facts.get('version')} for good; start it without --version, or take it off the list"
        )
        return Step("server", target, False, found)
    while True:
        ready = webhook.ask(f"{base}/health/ready")
        served = _served(ready.facts)
        if served.get(pipeline) == version:
            return Step("server", target, True, f"serves {version}")
        if served and pipeline not in served:
            return Step("server", target, False, f"it serves {', '.join(served)}, not {pipeline}")
        if time.monotonic() > deadline or ready.detail.startswith("not "):
            reason = reloaded.facts.get("detail") or reloaded.detail
            found = f"it serves {served[pipeline] or 'no version'}" if served else ready.detail
            return Step("server", target, False, f"not {version} within {wait_s:g} s: {found}; to reload: {reason}")
        time.sleep(POLL_S)


def move_in_mlflow(uri: str, pipeline: str, version: str, wait_s: float = SERVER_S) -> Step:
    """Let the alias of the registered model name the version, once the training's step has registered it."""
    target, deadline = shown(uri), time.monotonic() + wait_s
    fix = f"run the job {pipeline}_deploy again"
    try:
        with connected(uri, "the alias", fix) as client:
            while (number := move_champion(client, pipeline, version)) is None:
                if time.monotonic() > deadline:
                    found = f"{version} is not registered there: materialize {pipeline}/mlflow_model, then {fix}"
                    return Step("mlflow", target, False, found)
                time.sleep(POLL_S)
    except MLAssetsError as error:
        return Step("mlflow", target, False, str(error))
    return Step("mlflow", target, True, f"the alias champion is version {number}, which is {version}")


def _served(facts: Mapping[str, Any]) -> dict[str, str | None]:
    """Pipeline -> the champion that a server says it serves."""
    found = facts.get("pipelines")
    if not isinstance(found, dict):
        return {}
    return {name: roles.get("champion") if isinstance(roles, dict) else None for name, roles in found.items()}


def _notify_webhook(lake: Lake, spec: PipelineSpec, move: Move, release: Mapping[str, str]) -> Step:
    """Notify the webhook of a move, once: a run that is repeated finds that it was notified."""
    url = str(spec.deploy.webhook)
    target = host_of(url)
    notified = deployments.told_at(lake, spec.name, move, target)
    if notified is not None:
        return Step("webhook", target, True, f"was notified at {notified:%Y-%m-%d %H:%M:%S} UTC")
    payload = {
        "pipeline": spec.name,
        "version": move.version,
        "previous": move.previous,
        **{name: without_secrets(value) for name, value in release.items()},
        "why": move.why,
        "by": move.by,
        "moved_at": move.moved_at.isoformat(),
    }
    reply = webhook.ask(url, payload)
    for pause_s in PAUSES_S:
        if reply.outcome == "ok":
            break
        time.sleep(pause_s)
        reply = webhook.ask(url, payload)
    tried = "" if reply.outcome == "ok" else f" at the last of {len(PAUSES_S) + 1} attempts"
    return Step("webhook", target, reply.outcome == "ok", without_secrets(reply.detail, url) + tried)
