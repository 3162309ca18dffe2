"""Where a new pipeline goes: into the project around a folder, or into a new, minimal one."""

from __future__ import annotations

import importlib.util
import keyword
import os
from pathlib import Path

import yaml

import ml_assets.spec
from ml_assets.errors import SpecError
from ml_assets.project import PYPROJECT_FILE, YAML_FILE, Project, find_project
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

defs = ml_assets.load_from_defs_folder(path_within_project=Path(__file__).parent)
'''
# Beside the pipelines, so that an editor finds it offline and in every checkout, whatever Python it knows.
SCHEMA_FILE = "pipeline.schema.json"
OUR_SCHEMA = Path(ml_assets.spec.__file__).with_name(SCHEMA_FILE)
IGNORED = "/data/\n/.env\n__pycache__/\n"


def project_for(folder: Path) -> tuple[Project, bool]:
    """The project around a folder, else the one that would be made in it; and whether it is there already.

    Raises:
        SpecError: The folder has a pyproject.toml that declares no Dagster project.
    """
    found = find_project(folder)
    if found is not None:
        return found, True
    folder = folder.resolve()
    if (folder / PYPROJECT_FILE).exists():
        raise SpecError(
            "pyproject.toml declares no Dagster project.",
            where={"file": folder / PYPROJECT_FILE},
            fix="Add [tool.dg.project] with root_module (docs/reference/running.md), or use --into with a new folder.",
        )
    module = slug(folder.name)
    if keyword.iskeyword(module) or importlib.util.find_spec(module) is not None:
        module += "_pipelines"  # the folder may be called like a package that is installed
    return Project(folder, module, folder / module / "defs"), False


def refuse_existing(folder: Path) -> None:
    """Refuse a folder that has a pipeline or features already.

    Raises:
        SpecError: It has.
    """
    for name in (YAML_FILE, "defs.yml", "component.py", "features.sql"):
        if (folder / name).exists():
            raise SpecError(
                "There is a pipeline already; it is never overwritten.",
                where={"file": folder / name},
                fix="Choose another name, or remove the folder.",
            )


def write_pipeline(made: Draft, folder: Path) -> list[Path]:
    """Write defs.yaml and features.sql into a folder, and the schema that the YAML names; returns what is new."""
    texts = {YAML_FILE: render.defs_yaml(made), "features.sql": render.features_sql(made)}
    attributes = yaml.safe_load(texts[YAML_FILE])["attributes"]
    if made.target.is_open:
        attributes["target"]["sql"] = "NULL"  # refused at load until a person has written it
    PipelineSpec.model_validate(attributes)
    refuse_existing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    project = find_project(folder)
    schema = (project.defs if project else folder.parent.resolve()) / SCHEMA_FILE
    named = Path(os.path.relpath(schema, folder.resolve())).as_posix()
    texts[YAML_FILE] = f"# yaml-language-server: $schema={named}\n{texts[YAML_FILE]}"
    return [*(_write(folder / name, text) for name, text in texts.items()), *write_schema(schema)]


def write_schema(file: Path) -> list[Path]:
    """Write the JSON schema of pipelines; returns it where it was missing or another version's."""
    text = OUR_SCHEMA.read_text(encoding="utf-8")
    return [] if file.exists() and file.read_text(encoding="utf-8") == text else [_write(file, text)]


def place_of_target(file: Path) -> str:
    """File and line of the target in a pipeline's YAML."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return f"{file}:{1 + next(number for number, line in enumerate(lines) if line.startswith('  target:'))}"


def write_project(project: Project) -> list[Path]:
    """Write what a project needs beside its pipelines, leaving alone what is there; returns the new files."""
    package = project.root / project.module
    texts = {
        project.root / PYPROJECT_FILE: PYPROJECT.format(module=project.module),
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
