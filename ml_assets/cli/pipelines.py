"""The arguments PIPELINE and VERSION, which the shell completes, and the lake that a command reads or writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_assets.errors import MLAssetsError
from ml_assets.lake.paths import Paths

if TYPE_CHECKING:
    from ml_assets.lake.lake import Lake

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def complete_pipelines(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Names for the shell, from the YAML of the project alone."""
    from ml_assets.project import find_project, pipelines

    with contextlib.suppress(MLAssetsError):
        project = find_project(Path.cwd())
        return [name for name in (pipelines(project) if project else ()) if name.startswith(begun)]
    return []


def _versions(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Versions for the shell, from the folders of their bundles: opening the lake would take longer."""
    pipeline = context.params.get("pipeline") or "".join(context.args[:1])  # click leaves it there after an option
    names = (folder.name for folder in (Paths.of().bundles / pipeline).glob("*")) if pipeline else ()
    return sorted(name for name in names if name.startswith(begun) and not name.startswith("."))


pipeline_argument = click.argument("pipeline", shell_complete=complete_pipelines)
optional_pipeline = click.argument("pipeline", required=False, shell_complete=complete_pipelines)
why_option = click.option("--why", required=True, help="The reason; it is kept with the decision.")


def version_argument(name: str = "version", metavar: str | None = None) -> Decorator:
    """A model version."""
    return click.argument(name, metavar=metavar, shell_complete=_versions)


def version_option(name: str, text: str) -> Decorator:
    """A model version that may be left out."""
    return click.option(name, metavar="VERSION", help=text, shell_complete=_versions)


@contextlib.contextmanager
def reading(pipeline: str | None = None) -> Iterator[Lake]:
    """The project's lake, read-only.

    Raises:
        LakeError: There is no lake yet, or a newer ml_assets has written it.
        UnknownPipeline: The lake has no such pipeline.
    """
    from ml_assets.lake.lake import Lake
    from ml_assets.tables import formats
    from ml_assets.tables.pipelines import need_pipeline

    with Lake.of(Paths.of(), read_only=True) as lake:
        formats.check(lake)
        if pipeline is not None:
            need_pipeline(lake, pipeline)
        yield lake


@contextlib.contextmanager
def writing(pipeline: str | None = None) -> Iterator[Lake]:
    """The project's lake for writing; a mistaken folder gets none.

    Raises:
        LakeError: There is no lake yet, or a newer ml_assets has written it.
        UnknownPipeline: The lake has no such pipeline.
    """
    from ml_assets.lake.faults import no_lake
    from ml_assets.lake.lake import Lake
    from ml_assets.tables import formats
    from ml_assets.tables.pipelines import need_pipeline

    with Lake.of(Paths.of()) as lake:
        if not lake.catalog.exists():
            raise no_lake(lake.folder)
        formats.check(lake)
        if pipeline is not None:
            need_pipeline(lake, pipeline)
        yield lake
