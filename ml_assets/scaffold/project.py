"""Where a new pipeline goes: into the project around a folder, or into a new, minimal one."""

from __future__ import annotations

import importlib.util
import keyword
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ml_assets.errors import SpecError, did_you_mean
from ml_assets.scaffold import render
from ml_assets.scaffold.draft import Draft, slug
from ml_assets.spec import PipelineSpec

PYPROJECT = """\
[tool.dagster]
module_name = "{module}.definitions"
code_location_name = "{module}"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "{module}"
code_location_name = "{module}"
"""
DEFINITIONS = '''\
"""Every pipeline under defs/, as Dagster definitions."""

import warnings
from pathlib import Path

import dagster as dg

import ml_assets

# Dagster marks backfill policies as beta and checks per partition as preview; every command would begin with that.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

defs = dg.Definitions.merge(
    ml_assets.load_from_defs_folder(path_within_project=Path(__file__).parent),
    dg.Definitions(executor=dg.in_process_executor),  # a process for each step would cost seconds of imports each
)
'''
IGNORED = "/data/\n/.env\n__pycache__/\n"


@dataclass(frozen=True)
class Project:
    """A project that pipelines are written to.

    Args:
        root: Folder of pyproject.toml.
        module: Its Python package.
        defs: Folder of pipelines.
        exists: Is it there already?
    """

    root: Path
    module: str
    defs: Path
    exists: bool


def project_at(folder: Path) -> Project:
    """The project around a folder, else the one that would be made in it.

    Raises:
        SpecError: The folder has a pyproject.toml that declares no Dagster project.
    """
    folder = folder.resolve()
    for root in (folder, *folder.parents):
        declared = _declared(root / "pyproject.toml")
        if declared is not None:
            module = str(declared["root_module"])
            parts = str(declared.get("defs_module") or f"{module}.defs").split(".")
            base = root / "src" if (root / "src" / module).is_dir() else root
            return Project(root, module, base.joinpath(*parts), True)
    if (folder / "pyproject.toml").exists():
        raise SpecError(
            "pyproject.toml declares no Dagster project.",
            where={"file": folder / "pyproject.toml"},
            fix="Add [tool.dg.project] with root_module (docs/running.md), or use --into with a new folder.",
        )
    module = slug(folder.name)
    if keyword.iskeyword(module) or importlib.util.find_spec(module) is not None:
        module += "_pipelines"  # the folder may be called like a package that is installed
    return Project(folder, module, folder / module / "defs", False)


def _declared(file: Path) -> dict[str, Any] | None:
    """[tool.dg.project] of a pyproject.toml that has it."""
    if not file.is_file():
        return None
    try:
        tool = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except tomllib.TOMLDecodeError as error:
        raise SpecError("pyproject.toml cannot be read.", found=error, where={"file": file}) from error
    found = tool.get("dg", {}).get("project")
    return found if isinstance(found, dict) and "root_module" in found else None


def refuse_existing(folder: Path) -> None:
    """Refuse a folder that has a pipeline or features already.

    Raises:
        SpecError: It has.
    """
    for name in ("defs.yaml", "defs.yml", "component.py", "features.sql"):
        if (folder / name).exists():
            raise SpecError(
                "There is a pipeline already; it is never overwritten.",
                where={"file": folder / name},
                fix="Choose another name, or remove the folder.",
            )


def write_pipeline(made: Draft, folder: Path) -> list[Path]:
    """Write defs.yaml and features.sql into a folder; returns them."""
    texts = {"defs.yaml": render.defs_yaml(made), "features.sql": render.features_sql(made)}
    attributes = yaml.safe_load(texts["defs.yaml"])["attributes"]
    if made.target.is_open:
        attributes["target"]["sql"] = "NULL"  # refused at load until a person has written it
    PipelineSpec.model_validate(attributes)
    refuse_existing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder / name, text) for name, text in texts.items()]


def place_of_target(file: Path) -> str:
    """File and line of the target in a pipeline's YAML."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return f"{file}:{1 + next(number for number, line in enumerate(lines) if line.startswith('  target:'))}"


def write_project(project: Project) -> list[Path]:
    """Write what a project needs beside its pipelines, leaving alone what is there; returns the new files."""
    package = project.root / project.module
    texts = {
        project.root / "pyproject.toml": PYPROJECT.format(module=project.module),
        project.root / ".gitignore": IGNORED,
        package / "__init__.py": "",
        package / "definitions.py": DEFINITIONS,
        project.defs / "__init__.py": "",
    }
    project.defs.mkdir(parents=True, exist_ok=True)
    return [_write(file, text) for file, text in texts.items() if not file.exists()]


def _write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def declared(project: Project, pipeline: str) -> dict[str, Any]:
    """The attributes of a pipeline as its YAML has them.

    Raises:
        SpecError: The project has no such pipeline.
    """
    found = {}
    for file in sorted(project.defs.rglob("defs.yaml")):
        try:
            documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError):
            continue  # another pipeline's; `ml-assets validate` says what is wrong with it
        for document in documents:
            attributes = document.get("attributes") if isinstance(document, dict) else None
            if isinstance(attributes, dict):
                found[attributes.get("name")] = attributes
    if pipeline not in found:
        raise SpecError(
            f"The project has no pipeline {pipeline!r}; {did_you_mean(pipeline, filter(None, found))}",
            where={"folder": project.defs},
            fix="`ml-assets validate` lists those whose YAML cannot be read.",
        )
    return found[pipeline]
