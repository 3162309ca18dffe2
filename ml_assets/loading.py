"""What a project's YAML becomes: all definitions, or one pipeline. One that cannot be read costs the others nothing."""

from __future__ import annotations

import gc
import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components.core import decl
from dagster_shared.check import CheckError

from ml_assets import pipeline_file
from ml_assets.broken import in_chain, stand_in, strict, text_of
from ml_assets.component import BrokenPipeline, MLPipeline
from ml_assets.errors import MLAssetsError, SpecError, UnknownPipeline
from ml_assets.executors import executor_of
from ml_assets.graph.alerting.sensors import heartbeat_sensor
from ml_assets.project import YAML_FILE, find_project, module_name, project_at
from ml_assets.step_errors import WithoutStack

COLLECT_AFTER = 50_000  # objects


def load_from_defs_folder(path_within_project: Path) -> dg.Definitions:
    """`dg.load_from_defs_folder`, which by itself stops at the first YAML that cannot be parsed.

    The project's executor and the heartbeat come with it.

    MLPipeline itself sees to what is wrong in a YAML that can be parsed, and in the SQL beside it.

    Args:
        path_within_project: A path in the project, such as Path(__file__).parent.
    """
    _collect_less_often()
    project = find_project(path_within_project)
    try:
        found, heartbeat = _from_defs_folder(path_within_project), heartbeat_sensor()
        executor = executor_of(project.root if project else path_within_project)
    except Exception as error:  # whatever a YAML or a module under defs/ may raise
        ours = in_chain(error)
        if ours is None:
            raise
        raise WithoutStack([ours]) from error
    return dg.Definitions.merge(found, dg.Definitions(executor=executor, sensors=[heartbeat] if heartbeat else []))


def _collect_less_often() -> None:
    """By default Python walks through all objects again and again while a run imports its libraries: 7% of a training.

    Whoever has set another threshold, or none, keeps it.
    """
    if 0 < gc.get_threshold()[0] <= 2000:  # the default, which depends on Python's version
        gc.set_threshold(COLLECT_AFTER)


def _from_defs_folder(path_within_project: Path) -> dg.Definitions:
    project = find_project(path_within_project)
    try:
        for file in sorted((project.defs if project else path_within_project).rglob(YAML_FILE)):
            pipeline_file.check(file)
        return dg.load_from_defs_folder(path_within_project=path_within_project)
    except Exception as error:  # whatever a YAML or a module under defs/ may raise
        if strict():
            raise
        first = error
    # Not inside the handler: each error of another YAML would count as one that came while handling the first.
    with _skipping_unreadable() as skipped:
        try:
            found = [dg.load_from_defs_folder(path_within_project=path_within_project)]
        except CheckError:  # nothing is left
            found = []
    if not skipped:
        raise first
    root = dg.ComponentTree.for_project(path_within_project).defs_module_path
    stand_ins = [
        stand_in(folder.relative_to(root).parts, folder / YAML_FILE, problem) for folder, problem in skipped.items()
    ]
    return dg.Definitions.merge(*found, *stand_ins)


def definitions(root: Path) -> dg.Definitions:
    """What the module that pyproject.toml names as `[tool.dagster] module_name` defines.

    Raises:
        SpecError: pyproject.toml names no module, or the module cannot be loaded.
        MLAssetsError: A pipeline of it is wrong.
    """
    module = module_name(root)
    _importable(root)
    _ignore_warnings()
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # whatever a user's module may raise
        raise _as_ours(error, module) from error
    for value in vars(loaded).values():
        if isinstance(value, dg.Definitions):
            return value
    raise SpecError(
        f"{module} holds no dagster.Definitions.",
        where={"file": loaded.__file__},
        fix="Build them at module level: defs = dg.Definitions.merge(...), see docs/reference/running.md.",
    )


def load_pipeline(root: Path, name: str) -> MLPipeline:
    """The component of that name, its YAML read and its templates rendered.

    Raises:
        UnknownPipeline: The project has no such pipeline.
        SpecError: There is no project, or the pipeline cannot be loaded.
    """
    project_at(root)
    _importable(root)
    _ignore_warnings()
    with _skipping_unreadable() as problems:
        try:
            components = dg.ComponentTree.for_project(root).get_all_components(MLPipeline)
        except Exception as error:  # whatever a user's module may raise
            raise _as_ours(error, str(root)) from error
    broken = {folder.name: problem for folder, problem in problems.items()}
    broken |= {one.folder.name: one.problem for one in components if isinstance(one, BrokenPipeline)}
    found = {one.spec.name: one for one in components if not isinstance(one, BrokenPipeline)}
    if name in found:
        return found[name]
    if name in broken:
        raise SpecError(f"The pipeline {name!r} cannot be loaded.", found=broken[name])
    raise UnknownPipeline(name, [*found, *broken])


def _importable(root: Path) -> None:
    """Let the project's own packages be imported, wherever this process was started and whatever is installed."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def _ignore_warnings() -> None:
    """For the whole process: some come only when the graph is resolved. `dagster definitions validate` shows them."""
    for category in (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning):
        warnings.filterwarnings("ignore", category=category)


def _as_ours(error: BaseException, module: str) -> MLAssetsError:
    """Our own error where Dagster has wrapped one, else one that says what was raised."""
    return in_chain(error) or SpecError(
        f"The definitions of {module} cannot be loaded.",
        found=f"{type(error).__name__}: {error}",
        fix="`dagster definitions validate` shows the traceback.",
    )


@contextmanager
def _skipping_unreadable() -> Iterator[dict[Path, str]]:
    """Let Dagster's loader skip folders with a YAML of ours that cannot be read; gives folder -> problem.

    It has no switch for that. What is replaced meanwhile is the function that it calls for each folder.
    """
    skipped: dict[Path, str] = {}
    original = decl.build_filesystem_component_decl_from_context

    def tolerant(context: Any) -> Any:
        file = context.path / YAML_FILE
        try:
            if file.is_file():
                pipeline_file.check(file)
            return original(context)
        except Exception as error:
            if not (isinstance(error, SpecError) or _is_ours(file)):
                raise
            skipped[context.path] = text_of(pipeline_file.explained(file, error))
            return None

    decl.build_filesystem_component_decl_from_context = tolerant
    try:
        yield skipped
    finally:
        decl.build_filesystem_component_decl_from_context = original


def _is_ours(file: Path) -> bool:
    return file.is_file() and b"ml_assets." in file.read_bytes()
