"""Which of Dagster's executors runs the steps of a run: a setting of the project, and no code.

    [tool.ml_assets.executor]
    name = "multiprocess"      # or in_process, or an import path, such as dagster_k8s.k8s_job_executor
    config = {max_concurrent = 4}

`$ML_ASSETS_EXECUTOR` is stronger than this name.
"""

from __future__ import annotations

import json
import os
from functools import cache
from importlib import import_module
from pathlib import Path

import dagster as dg

from ml_assets.errors import SpecError
from ml_assets.settings import settings

ENV_EXECUTOR = "ML_ASSETS_EXECUTOR"
OWN = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}
DEFAULT = "in_process"  # a process for each step would cost 3 s of imports each; heavy work is parallel inside a step


def executor_of(root: Path) -> dg.ExecutorDefinition:
    """The executor of a project's runs.

    Raises:
        SpecError: It does not exist. Whether it takes its config, Dagster says when a run begins.
    """
    found = settings(root, "executor", {"name": str, "config": dict})
    name = os.environ.get(ENV_EXECUTOR) or found.get("name", DEFAULT)
    config = found.get("config", {}) if name == found.get("name") else {}
    return _configured(name, json.dumps(config, sort_keys=True, default=str))


@cache
def _configured(name: str, config: str) -> dg.ExecutorDefinition:
    """One object for all that asks: Dagster merges definitions of one executor only."""
    made, values = _named(name), json.loads(config)
    return made.configured(values, name=made.name) if values else made


def _named(name: str) -> dg.ExecutorDefinition:
    if name in OWN:
        return OWN[name]
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise _wrong("The executor cannot be imported.", name, str(error)) from error
    if not isinstance(found, dg.ExecutorDefinition):
        raise _wrong("This is no executor of Dagster.", name, repr(found))
    return found


def _wrong(rule: str, name: str, found: str) -> SpecError:
    words = f"{', '.join(OWN)}, or an import path such as dagster_k8s.k8s_job_executor, whose package is installed"
    return SpecError(rule, found=found, where={"executor": name}, fix=f"[tool.ml_assets.executor] name: {words}.")
