"""A project of its own for a benchmark: the skeleton that `ml-assets init` would make, one pipeline, an empty lake."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.cost import Cost, measured

PACKAGE = Path(__file__).parents[1] / "ml_assets"
MODULE = "benchmark_project"
PYPROJECT = f'[tool.dg]\ndirectory_type = "project"\n\n[tool.dg.project]\nroot_module = "{MODULE}"\n'
MATERIALIZE = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", f"{MODULE}.definitions", "--select"]


def make(folder: Path) -> None:
    """Everything but pipelines and files."""
    (folder / MODULE).mkdir(parents=True, exist_ok=True)
    shutil.copy(PACKAGE / "definitions.py", folder / MODULE / "definitions.py")
    (folder / MODULE / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "data" / "incoming").mkdir(parents=True)
    (folder / "data" / "dagster").mkdir()
    shutil.copy(PACKAGE / "dagster.yaml", folder / "data" / "dagster" / "dagster.yaml")


def declare(folder: Path, spec: Mapping[str, Any], sql: Mapping[str, str]) -> Path:
    """Write one pipeline's folder of definitions, its YAML and its SELECTs by file name; returns the folder."""
    defs = folder / MODULE / "defs" / str(spec["name"])
    defs.mkdir(parents=True)
    document = {"type": "ml_assets.MLPipeline", "attributes": dict(spec)}
    (defs / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    for name, text in sql.items():
        (defs / name).write_text(text)
    return defs


def keys(pipeline: str, assets: Sequence[str]) -> str:
    """Dagster's selection of assets of a pipeline."""
    return " or ".join(f'key:"{pipeline}/{name}"' for name in assets)


def materialize(folder: Path, selected: str, *which: str, memory: str | None = None) -> Cost:
    """Materialize assets by the command that a user types, in a process of its own; returns its cost.

    Args:
        folder: The project.
        selected: Dagster's selection.
        which: Options that name batches.
        memory: DuckDB's memory limit.
    """
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(folder / "data" / "dagster"),
        "ML_ASSETS_STATIC_PAGES": "0",
        **({"ML_ASSETS_MEMORY_LIMIT": memory} if memory else {}),
    }
    return measured([*MATERIALIZE, selected, *which], folder, environment)
