"""The `alerts:` of the project's YAML with its addresses: read without loading the definitions, which takes seconds."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ml_assets.errors import SpecError
from ml_assets.project import Project, declared, pipelines
from ml_assets.spec.operation import Alerts

VARIABLE = re.compile(r"""\benv\.(\w+)|\benv\(\s*\\?['"](\w+)\\?['"]\s*\)""")


def alerts_of(project: Project, pipeline: str) -> Alerts:
    """Who is notified of what in a pipeline.

    Raises:
        UnknownPipeline: The project has no such pipeline, or its YAML cannot be parsed.
        SpecError: Its part `alerts` is wrong.
    """
    return _alerts(declared(project, pipeline), pipeline, variables(project.root))


def all_alerts(project: Project) -> dict[str, Alerts]:
    """Pipeline -> who is notified of what, of every pipeline whose YAML says so and is right."""
    known, found = variables(project.root), {}
    for name, attributes in pipelines(project).items():
        try:
            found[name] = _alerts(attributes, name, known)
        except SpecError:
            continue  # `ml-assets validate` says what is wrong with it
    return found


def variables(root: Path) -> Mapping[str, str]:
    """The environment as the daemon has it: the project's .env, and what this process has."""
    from dagster._core.secrets.env_file import get_env_var_dict

    return {**os.environ, **get_env_var_dict(str(root))}


def missing_variables(project: Project, pipeline: str, part: str | None = None) -> list[str]:
    """Environment variables that the YAML of a pipeline, or a part of it, names without a default and that are unset.

    Raises:
        UnknownPipeline: The project has no such pipeline, or its YAML cannot be parsed.
    """
    attributes = declared(project, pipeline)
    text = json.dumps(attributes if part is None else attributes.get(part), default=str)
    named = [found[1] or found[2] for found in VARIABLE.finditer(text)]
    return sorted(set(named) - {name for name, value in variables(project.root).items() if value})


def _alerts(attributes: Mapping[str, Any], pipeline: str, known: Mapping[str, str]) -> Alerts:
    from dagster.components.resolved.errors import ResolutionException

    from ml_assets.templates import filled

    try:
        return Alerts.model_validate(filled(attributes.get("alerts") or {}, known))
    except (ValidationError, ResolutionException):
        raise SpecError(  # without the cause: it may hold an address
            "The part `alerts` of the YAML is wrong.",
            where={"pipeline": pipeline},
            fix="`ml-assets validate` says what is wrong.",
        ) from None
