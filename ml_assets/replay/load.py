"""A pipeline of the project, found by its name."""

from __future__ import annotations

import dagster as dg

from ml_assets.component import MLPipeline
from ml_assets.errors import SpecError, did_you_mean
from ml_assets.project import importable, mendable
from ml_assets.store.paths import Paths


def find_pipeline(paths: Paths, name: str) -> MLPipeline:
    """The component of that name, its YAML read and its templates rendered.

    Raises:
        SpecError: The project has no such pipeline, or it cannot be loaded.
    """
    importable(paths.root)
    try:
        tree = dg.ComponentTree.for_project(paths.root)
        found = {component.spec.name: component for component in tree.get_all_components(MLPipeline)}
    except Exception as error:  # whatever a user's module may raise
        raise mendable(error, str(paths.root)) from error
    if name not in found:
        raise SpecError(f"The project has no pipeline {name!r}.", fix=did_you_mean(name, found))
    return found[name]
