"""Code versions that are computed, not typed.

The version of an asset is a hash over the part of the spec that it reads, its SQL files, and the syntax trees of the
modules that compute its rows: its logic modules, and what they import of `ml`, `sources` and other logic, directly or
not. What stores, declares or shows rows does not count: the lake's engine, tables, the YAML's model, Dagster's wiring,
reports. Nor do comments, docstrings, layout, texts of errors and lines of logs, in Python, SQL and YAML alike. A change
there that is meant to make an asset stale raises the `revision` where the asset is declared.
The code of a user's features function or estimator counts whole: its module, and what that imports of the same project.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from ml_assets.atomic import short_hash
from ml_assets.graph.source_code import SourceCode, remembered
from ml_assets.lake.database import scratch
from ml_assets.lake.sql import literal
from ml_assets.spec import PipelineSpec

SCHEME = "2."  # what a version begins with
# Versions of release 0.1 also counted engine, texts and wiring: they say nothing about the code of today.
EARLIER_SCHEME = re.compile(r"[0-9a-f]{12}")
PACKAGE = "ml_assets"
# Packages whose modules compute rows, beside the logic of the stages.
COMPUTING = ("ml", "metrics", "sources", "server")
# How a model lies on disk decides no score: a release that scores otherwise than its model is refused.
FORMATS = ("ml_assets.ml.bundle", "ml_assets.ml.manifest", "ml_assets.ml.release", "ml_assets.ml.onnx")
# Which rows a model is fitted on, which outcome a row has, and when a batch has drifted, is decided by these.
COMPUTING_TABLES = ("ml_assets.tables.training_sets", "ml_assets.tables.outcomes", "ml_assets.tables.drift")
WIRING = ("assets", "checks", "sensors", "job", "__init__")  # the last words of a stage's modules that compute nothing
TEXTS = frozenset({"description", "unit"})  # fields of the YAML that only say what something is
# These see every stage: who imports them is not made of them.
ENTRY_POINTS = frozenset({PACKAGE, "ml_assets.component", "ml_assets.definitions", "ml_assets.cli"})


def code_version(logic: Iterable[ModuleType | str], *parts: Any, revision: int = 1) -> str:
    """Version of an asset whose rows these modules compute, from these parts of the spec and these texts.

    Args:
        logic: The asset's logic modules, or their names.
        parts: Pydantic models, or values that JSON can hold.
        revision: Raised by hand where a change that does not count by itself is meant to make the asset stale.
    """
    names = {name for root in logic for name in computing(root if isinstance(root, str) else root.__name__)}
    hashes = [_module_hash(name) for name in sorted(names)]
    text = json.dumps([revision, hashes, [_plain(part) for part in parts]], sort_keys=True, default=str)
    return SCHEME + short_hash(text, 12)


def is_other_code(one: str, other: str) -> bool:
    """Do two versions differ, as far as they can be compared? What an earlier scheme has made is not made again."""
    return one != other and not any(EARLIER_SCHEME.fullmatch(version) for version in (one, other))


def training_version(spec: PipelineSpec) -> str:
    """Code version of `trained_model`: what may be fitted again in another step must have been fitted by the same."""
    own = estimator_hashes(candidate.estimator for candidate in spec.candidates.values())
    parts = (spec.candidates, spec.tuning, spec.target, spec.costs, spec.training, own)
    return code_version(["ml_assets.graph.training.fitting", "ml_assets.graph.training.candidates"], *parts)


def computing(module: str) -> frozenset[str]:
    """The modules that count for a logic module: itself, and those that it imports and that compute, too."""
    return closure(module, _computes)


def _is_part(module: str) -> bool:
    return module not in ENTRY_POINTS


def _computes(module: str) -> bool:
    package, *rest = module.split(".")
    if package != PACKAGE or not rest:
        return package != PACKAGE
    if rest[0] == "graph":
        return len(rest) > 2 and rest[-1].rpartition("_")[2] not in WIRING
    if f"{module}.".startswith(tuple(f"{name}." for name in FORMATS)):
        return False
    return rest[0] in COMPUTING or module in COMPUTING_TABLES


def module_hashes(module: str) -> list[str]:
    """Hashes of the syntax trees of a module and of what it imports of its own project."""
    return [_module_hash(name) for name in sorted(closure(module))]


def estimator_hashes(paths: Iterable[str]) -> list[str]:
    """Hashes of the modules of those estimators that are not scikit-learn's: they are code of the project, too."""
    modules = {path.rpartition(".")[0] for path in paths}
    return [text for module in sorted(modules) if module.split(".")[0] != "sklearn" for text in module_hashes(module)]


def parsed(sql: str) -> str:
    """A SELECT as DuckDB parses it, without positions: comments and layout do not count."""
    # The text as a literal: a parameter makes DuckDB import pandas, and every load of a code location comes by here.
    (tree,) = scratch().execute(f"SELECT json_serialize_sql({literal(sql)})").fetchall()[0]
    return re.sub(r'"query_location":\d+,?', "", tree)


def _plain(part: Any) -> Any:
    if isinstance(part, BaseModel):  # without what is null: a new optional field makes nothing stale that lacks it
        values = {name: getattr(part, name) for name in type(part).model_fields if name not in TEXTS}
        return {name: _plain(value) for name, value in values.items() if value is not None}
    if isinstance(part, dict):
        return {key: _plain(value) for key, value in part.items()}
    return [_plain(value) for value in part] if isinstance(part, list | tuple) else part


@cache
def closure(module: str, counts: Callable[[str], bool] = _is_part) -> frozenset[str]:
    """`module` and every module of its own project that it imports, directly or not, by way of those that count."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or not counts(name):
            continue
        seen.add(name)
        waiting += _imports(name)
    return frozenset(seen)


def _imports(module: str) -> list[str]:
    """The modules of the same project that a module names in its imports."""
    file = source_file(module)
    if file is None:
        return []
    found = set()
    for level, base, names in _read(file).imports:
        base = _absolute(module, file, level, base) if level else base
        found |= {base, *(f"{base}.{name}" for name in names)}
    return sorted(name for name in found if _is_of_project(name, module) and source_file(name) is not None)


def _absolute(module: str, file: Path, level: int, base: str) -> str:
    """The module that an import names which begins with so many dots."""
    parts = module.split(".")
    package = parts if file.name == "__init__.py" else parts[:-1]
    return ".".join([*package[: len(package) - level + 1], *([base] if base else [])])


def _is_of_project(name: str, module: str) -> bool:
    """Is an imported module of the same package, or does its package lie beside that one in a folder of the user's?"""
    top, own = name.split(".")[0], module.split(".")[0]
    if top == own:
        return True
    folder = _folder(own)
    return folder is not None and folder.name not in ("site-packages", "dist-packages") and _folder(top) == folder


@cache
def _folder(top: str) -> Path | None:
    """Folder of a package's folder, or of a single module."""
    file = source_file(top)
    if file is None:
        return None
    return file.parent.parent if file.name == "__init__.py" else file.parent


@cache
def source_file(module: str) -> Path | None:
    """The Python file of a module, found without importing it or its packages; None where there is none."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder, *rest)
        for file in (base / "__init__.py", base.with_name(base.name + ".py")):
            if file.is_file():
                return file
    return None


def _module_hash(module: str) -> str:
    file = source_file(module)
    return _read(file).hash if file else ""


@cache
def _read(file: Path) -> SourceCode:
    return remembered(file)
