"""Settings of a project for all its pipelines: the tables `[tool.ml_assets.NAME]` of its pyproject.toml.

What one pipeline alone needs is in its YAML; secrets are in the environment.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from ml_assets.errors import SpecError, did_you_mean
from ml_assets.escaping import quoted

PYPROJECT = "pyproject.toml"


def settings(root: Path, table: str, keys: dict[str, type]) -> dict[str, Any]:
    """`[tool.ml_assets.TABLE]` of the project at `root`; empty where there is none.

    Args:
        root: Folder of pyproject.toml.
        table: Its name.
        keys: Each key that it may have, and the type of its value.

    Raises:
        SpecError: pyproject.toml is not TOML, or the table has another key or a value of another type.
    """
    file = root / PYPROJECT
    try:
        found = _tables(file, file.stat().st_mtime_ns).get(table, {})
    except FileNotFoundError:
        return {}
    for key, value in found.items():
        where = {"file": file, "table": f"tool.ml_assets.{table}"}
        if key not in keys:
            raise SpecError("A setting does not exist.", found=key, where=where, fix=did_you_mean(key, keys))
        if not isinstance(value, keys[key]):
            expected = {str: "a string", int: "a whole number", dict: "a table"}[keys[key]]
            raise SpecError(f"The setting {key!r} must be {expected}.", found=quoted(value), where=where)
    return dict(found)


@cache
def _tables(file: Path, changed: int) -> dict[str, Any]:  # noqa: ARG001 - read again when the file has changed
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpecError("pyproject.toml is not TOML.", found=error, where={"file": file}, fix="Correct it.") from error
    return dict(found.get("tool", {}).get("ml_assets", {}))
