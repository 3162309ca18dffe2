"""What counts of a Python file: its syntax tree without what a person reads, and what it imports.

To parse a hundred files takes a second, so what is found is kept beside Python's own compiled form of each file, in
`__pycache__`: no other place is as sure to be written by nobody else. It goes by the file's text, not by its time.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import json
import os
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ml_assets import errors
from ml_assets.atomic import short_hash

LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception"})
DECLARATIONS = frozenset({"Column", "Table"})  # of the lake's tables
ERRORS = frozenset(name for name, found in vars(errors).items() if isinstance(found, type))


@dataclass(frozen=True)
class SourceCode:
    """What counts of a Python file.

    Args:
        hash: Of its syntax tree, without what a person reads.
        imports: How many dots each import begins with, the module after them, and the names that it takes.
    """

    hash: str
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


def remembered(file: Path) -> SourceCode:
    """What counts of a file; it is parsed where no process has parsed this text by these rules before."""
    text = file.read_text(encoding="utf-8")
    kept, key = _kept_in(file), short_hash(_rules() + text, 64)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["key"] == key:
            return SourceCode(
                found["hash"], tuple((level, base, tuple(names)) for level, base, names in found["imports"])
            )
    source = understood(text, str(file))
    if not sys.dont_write_bytecode:
        _keep(kept, json.dumps({"key": key, **asdict(source)}))
    return source


def _kept_in(file: Path) -> Path:
    """The name tells the version of Python, whose syntax trees differ."""
    return Path(importlib.util.cache_from_source(str(file))).with_suffix(".counts.json")


def _keep(file: Path, text: str) -> None:
    """Write it whole, or not at all where this user may not."""
    new = file.with_name(f"{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.replace(file)


@cache
def _rules() -> str:
    """Tells one way to understand files from another: this module, and the names of our errors."""
    return Path(__file__).read_text(encoding="utf-8") + " ".join(sorted(ERRORS))


@cache
def understood(text: str, name: str) -> SourceCode:
    """What counts of a Python text; `name` stands in the error of one that is no Python."""
    tree = ast.parse(text, filename=name)
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
    without = ast.dump(_WithoutTexts().visit(tree))
    return SourceCode(hashlib.sha256(without.encode()).hexdigest(), tuple(imports))


class _WithoutTexts(ast.NodeTransformer):
    """Takes away what a person reads: docstrings, descriptions, what errors, logs and declarations say."""

    def visit_body(self, node: Any) -> Any:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    visit_Module = visit_ClassDef = visit_FunctionDef = visit_body  # noqa: N815 - names that ast looks for

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and _only_says(node.func.id):
            node.args, node.keywords = [], []
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.keyword | None:
        self.generic_visit(node)
        return None if node.arg == "description" and isinstance(node.value, ast.Constant) else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LOG_METHODS:
            return ast.Pass()
        self.generic_visit(node)
        return node


def _only_says(name: str) -> bool:
    """Are the arguments of a call of this name for people: an error, or what a table means?"""
    return name in ERRORS or name in DECLARATIONS or name.endswith("Error")
