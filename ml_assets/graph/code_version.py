"""Code versions that are computed, not typed.

The version of an asset is a hash over the part of the spec that it reads, its SQL files, and the syntax trees of its
module and of every ml_assets module that it imports, directly or not. Comments, docstrings and layout do not count,
in Python, SQL and YAML alike.
The code of a user's features function counts in the same way: its module, and what that imports of the same project.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ml_assets.lake.database import scratch
from ml_assets.lake.sql import literal
from ml_assets.spec import PipelineSpec

# These see every stage or only name things: a change in them is not a change of what an asset computes.
TEXTS = ("ml_assets.errors", "ml_assets.escaping")
OUTSIDE = frozenset({"ml_assets", "ml_assets.component", "ml_assets.definitions", "ml_assets.cli", *TEXTS})


def code_version(module: str, *parts: Any) -> str:
    """Version of an asset in `module` that reads these parts of the spec and these texts.

    Args:
        module: Name of the asset's module.
        parts: Pydantic models, or values that JSON can hold.
    """
    hashes = module_hashes(module)
    text = json.dumps([hashes, [_plain(part) for part in parts]], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def training_version(spec: PipelineSpec) -> str:
    """Code version of `trained_model`: what may be fitted again in another step must have been fitted by the same."""
    own = estimator_hashes(candidate.estimator for candidate in spec.candidates.values())
    parts = (spec.candidates, spec.tuning, spec.target, spec.costs, spec.training, own)
    return code_version("ml_assets.graph.training.assets", *parts)


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
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json")
    if isinstance(part, dict):
        return {key: _plain(value) for key, value in part.items()}
    return [_plain(value) for value in part] if isinstance(part, list | tuple) else part


@cache
def closure(module: str) -> frozenset[str]:
    """`module` and every module of its own project that it imports, directly or not."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name in OUTSIDE:
            continue
        seen.add(name)
        waiting += _imports(name)
    return frozenset(seen)


def _imports(module: str) -> list[str]:
    found = []
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module)
            found += [f"{base}.{alias.name}" for alias in node.names] + [base]
    return sorted({name for name in found if _is_of_project(name, module) and source_file(name) is not None})


def _absolute(node: ast.ImportFrom, module: str) -> str:
    """The module that an import names, where it may begin with dots."""
    if not node.level:
        return node.module or ""
    file = source_file(module)
    parts = module.split(".")
    package = parts if file and file.name == "__init__.py" else parts[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


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


def _tree(module: str) -> ast.Module:
    file = source_file(module)
    return _parsed(file) if file else ast.Module(body=[], type_ignores=[])


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def _module_hash(module: str) -> str:
    file = source_file(module)
    return _file_hash(file) if file else ""


@cache
def _file_hash(file: Path) -> str:
    tree = _parsed(file)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
