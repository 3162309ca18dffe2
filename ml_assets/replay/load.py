"""A pipeline of the project, found by its name."""

from __future__ import annotations

import dagster as dg

from ml_assets.component import BrokenPipeline, MLPipeline
from ml_assets.errors import SpecError, did_you_mean
from ml_assets.lake.paths import Paths
from ml_assets.project import importable, mendable


def find_pipeline(paths: Paths, name: str) -> MLPipeline:
    """The component of that name, its YAML read and its templates rendered.

    Raises:
        SpecError: The project has no such pipeline, or it cannot be loaded.
    """
    importable(paths.root)
    try:
        tree = dg.ComponentTree.for_project(paths.root)
        components = tree.get_all_components(MLPipeline)
    except Exception as error:  # whatever a user's module may raise
        raise mendable(error, str(paths.root)) from error
    for component in components:
        if isinstance(component, BrokenPipeline) and component.folder.name == name:
            raise SpecError(f"The pipeline {name!r} cannot be loaded.", found=component.problem)
    found = {one.spec.name: one for one in components if not isinstance(one, BrokenPipeline)}
    if name not in found:
        raise SpecError(f"The project has no pipeline {name!r}.", fix=did_you_mean(name, found))
    return found[name]
