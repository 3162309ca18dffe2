"""Code versions that are computed, not typed.

The version of an asset is a hash over the part of the spec that it reads, its SQL files, and the syntax trees of its
module and of every ml_assets module that it imports, directly or not. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

PACKAGE = "ml_assets"
# These see every stage or only name things: a change in them is not a change of what an asset computes.
OUTSIDE = frozenset({"ml_assets", "ml_assets.component", "ml_assets.definitions", "ml_assets.cli", "ml_assets.errors"})


def code_version(module: str, *parts: Any) -> str:
    """Version of an asset in `module` that reads these parts of the spec and these texts.

    Args:
        module: Name of the asset's module.
        parts: Pydantic models, or values that JSON can hold.
    """
    hashes = [_module_hash(name) for name in sorted(closure(module))]
    text = json.dumps([hashes, [_plain(part) for part in parts]], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plain(part: Any) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json")
    if isinstance(part, dict):
        return {key: _plain(value) for key, value in part.items()}
    return [_plain(value) for value in part] if isinstance(part, list | tuple) else part


@cache
def closure(module: str) -> frozenset[str]:
    """`module` and every module of this package that it imports, directly or not."""
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
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
    ours = {name for name in found if name == PACKAGE or name.startswith(PACKAGE + ".")}
    return sorted(name for name in ours if _source(name) is not None)


@cache
def _source(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin else None


@cache
def _tree(module: str) -> ast.Module:
    source = _source(module)
    return ast.parse(source.read_text(encoding="utf-8")) if source else ast.Module(body=[], type_ignores=[])


@cache
def _module_hash(module: str) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
