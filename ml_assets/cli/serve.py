"""`ml-assets serve`: the champions' releases over HTTP, as their aliases move."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_assets.cli.pipelines import complete_pipelines, version_option
from ml_assets.lake.paths import Paths

if TYPE_CHECKING:
    from ml_assets.server.prediction_log import LogRules
    from ml_assets.server.registry import Settings
    from ml_assets.server.service import Service
    from ml_assets.spec.operation import Log


@click.command(short_help="Score rows over HTTP.")
@click.argument("pipelines", nargs=-1, metavar="[PIPELINE]...", shell_complete=complete_pipelines)
@version_option("--version", "Serve this version of one pipeline for good; by default the champion is followed.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that share the port.",
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of API keys (`ml-assets key`), beside those of $ML_ASSETS_API_KEYS.",
)
@click.option("--insecure", is_flag=True, help="Bind another address than this machine's own without API keys.")
def serve(
    pipelines: tuple[str, ...],
    version: str | None,
    port: int,
    host: str,
    workers: int,
    keys: Path | None,
    insecure: bool,
) -> None:
    """Score rows over HTTP: POST /v1/PIPELINE/predict; /docs names the rest. New champions take over by themselves.

    Without names, every pipeline that has a champion is served.
    """
    from ml_assets.server.process import Options, run

    if version is not None and len(pipelines) != 1:
        raise click.UsageError("--version needs the name of one pipeline")
    paths = Paths.of()

    def make() -> Service:
        from ml_assets.server.follow import Follower

        return Follower(paths, pipelines, lambda name: settings_of(paths.root, name), version)

    run(make, Options(host, port, workers, keys, insecure))


def settings_of(root: Path, pipeline: str) -> Settings:
    """How a pipeline is served, as its YAML says; by the defaults, which log all columns, where nothing declares it.

    Raises:
        SpecError: `serving` of the YAML is wrong.
    """
    from ml_assets.errors import SpecError
    from ml_assets.project import find_project, pipelines
    from ml_assets.server.registry import Settings

    project = find_project(root)
    declared: dict[str, Any] = pipelines(project).get(pipeline, {}) if project else {}
    if not declared:
        log = logging.getLogger("ml_assets.server")
        log.warning("no project in %s declares %s: the champion is served, and all columns are logged", root, pipeline)
    from pydantic import ValidationError

    from ml_assets.spec.operation import Serving

    try:
        found = Serving.model_validate(declared.get("serving") or {})
    except ValidationError as error:
        lines = [(".".join(map(str, line["loc"])), line["msg"]) for line in error.errors()]
        wrong = [f"{key}: {text.removeprefix('Value error, ')}" for key, text in lines]
        where, fix = {"pipeline": pipeline}, "`ml-assets validate` says where."
        raise SpecError("`serving` of the YAML is wrong.", found="; ".join(wrong), where=where, fix=fix) from error
    key = tuple(declared.get("key") or ())
    outcomes = {one["name"]: one["type"] for one in declared.get("columns", ()) if one.get("outcome")}
    return Settings(
        routes=found.routes,
        shadow=found.shadow,
        key=key,
        outcomes=outcomes or None,
        constraints=found.constraints,
        log=_log_rules(found.log, key),
    )


def _log_rules(log: Log | None, key: tuple[str, ...]) -> LogRules | None:
    from ml_assets.server.prediction_log import LogRules

    return None if log is None else LogRules(log.sample, frozenset(log.leave_out), log.required, key)
