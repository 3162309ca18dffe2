"""The project around a folder: its root, the YAML of its pipelines, the name of the module of its definitions.

What belongs here: finding. What is found is built by loading.py; what is not there yet is written by scaffold/.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ml_assets.errors import SpecError, UnknownPipeline

PYPROJECT_FILE = "pyproject.toml"
YAML_FILE = "defs.yaml"


@dataclass(frozen=True)
class Project:
    """A Dagster project, as `[tool.dg.project]` of its pyproject.toml says.

    Args:
        root: Folder of pyproject.toml.
        module: Its Python package.
        defs: Folder of pipelines.
    """

    root: Path
    module: str
    defs: Path


def find_project(folder: Path) -> Project | None:
    """The project around a folder, if there is one.

    Raises:
        SpecError: A pyproject.toml cannot be parsed.
    """
    folder = folder.resolve()
    for root in (folder, *folder.parents):
        declared = _tool(root).get("dg", {}).get("project", {})
        if isinstance(declared, dict) and "root_module" in declared:
            module = str(declared["root_module"])
            parts = str(declared.get("defs_module") or f"{module}.defs").split(".")
            base = root / "src" if (root / "src" / module).is_dir() else root
            return Project(root, module, base.joinpath(*parts))
    return None


def project_at(folder: Path) -> Project:
    """The project around a folder.

    Raises:
        SpecError: There is none.
    """
    found = find_project(folder)
    if found is None:
        raise SpecError(
            "There is no Dagster project here: no pyproject.toml with [tool.dg.project] and root_module.",
            where={"folder": folder.resolve()},
            fix="Go to the project, or make one: `ml-assets init`.",
        )
    return found


def pipelines(project: Project) -> dict[str, dict[str, Any]]:
    """Pipeline -> its attributes as the YAML has them; what cannot be parsed is left out."""
    found: dict[str, dict[str, Any]] = {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has it
    for file in sorted(project.defs.rglob(YAML_FILE)):
        try:
            documents = list(yaml.load_all(file.read_text(encoding="utf-8"), Loader=loader))
        except (OSError, yaml.YAMLError, UnicodeDecodeError):
            continue  # `ml-assets validate` says what is wrong with it
        for document in documents:
            attributes = document.get("attributes") if isinstance(document, dict) else None
            if isinstance(attributes, dict) and isinstance(attributes.get("name"), str):
                found[attributes["name"]] = attributes
    return found


def declared(project: Project, pipeline: str) -> dict[str, Any]:
    """The attributes of a pipeline as its YAML has them; loading the definitions would take seconds.

    Raises:
        UnknownPipeline: The project has no such pipeline, or its YAML cannot be parsed.
    """
    found = pipelines(project)
    if pipeline not in found:
        raise UnknownPipeline(pipeline, found, {"folder": project.defs})
    return found[pipeline]


def module_name(root: Path) -> str:
    """The module of the project's definitions.

    Raises:
        SpecError: There is no pyproject.toml, it cannot be parsed, or it names none.
    """
    file = root / PYPROJECT_FILE
    if not file.is_file():
        raise SpecError("There is no pyproject.toml here.", where={"folder": root}, fix="Go to the project.")
    found = _tool(root).get("dagster", {}).get("module_name")
    if not found:
        raise SpecError(
            "pyproject.toml does not name the module of the definitions.",
            where={"file": file},
            fix='Add to it: [tool.dagster] module_name = "PACKAGE.definitions".',
        )
    return str(found)


def _tool(root: Path) -> dict[str, Any]:
    """[tool] of a folder's pyproject.toml; empty where there is none."""
    file = root / PYPROJECT_FILE
    if not file.is_file():
        return {}
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError("pyproject.toml cannot be parsed.", found=error, where={"file": file}) from error
    return dict(found)
