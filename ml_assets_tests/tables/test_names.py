"""A table's name is written in its module alone. What counts as writing it:

- a qualified name: `.features` after a placeholder of an f-string, or as a text of its own;
- SQL over it: FROM, JOIN, INTO, UPDATE or TABLE, and the name;
- a text that is the name, where no other word is it (`raw_data`: a name with an underscore; not as the index of a row
  or mapping, such as `described["training_set"]`), or where it is handed to
  something that takes tables or assets (`asset_key(spec, "features")`, `lake.count(...)`);
- an asset's key: an f-string that is a placeholder and `/features`, and nothing else.

A word such as champion or features is the YAML's and the models' too, and sentences name assets (`Materialize
flights/features.`), so that these alone are not asked about. Docstrings are not, either.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ml_assets
from ml_assets.tables.data import PREFIX
from ml_assets.tables.families import TABLES

PACKAGE = Path(ml_assets.__file__).parent
NAMES = sorted({table.name for table in TABLES if not table.name.startswith(PREFIX)}, key=len, reverse=True)
ANY = rf"(?:{'|'.join(NAMES)}|{PREFIX}\w*)"
QUALIFIED = re.compile(rf"\.{ANY}(?![\w.])")
SQL = re.compile(rf"\b(?:FROM|JOIN|INTO|UPDATE|TABLE)\s+[\w.\"]*\b{ANY}\b")
KEY = re.compile(rf"/{ANY}")
# What takes tables or assets by name.
TAKERS = {
    *("asset_key", "AssetKey", "batch_checks", "Put", "Rows", "table"),
    *("exists", "count", "batches", "columns", "rows_of", "row_ids", "values_by_batch"),
}


def written(source: str) -> list[str]:
    """Line and text of each name of a table in a module's source."""
    tree = ast.parse(source)
    left_out = {id(text) for node in ast.walk(tree) for text in (*_docstring(node), *_index(node))}
    found = []
    for node in ast.walk(tree):
        texts: Iterator[ast.Constant] = iter(())
        if isinstance(node, ast.JoinedStr):
            texts = (part for part in _after_placeholders(node) if QUALIFIED.match(part.value) or _is_key(node, part))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            is_name = node.value in NAMES and "_" in node.value
            if is_name or QUALIFIED.fullmatch(node.value) or SQL.search(node.value):
                texts = iter((node,))
        elif isinstance(node, ast.Call) and _name(node.func) in TAKERS:
            texts = (text for text in _texts(node) if text.value in NAMES)
        found += [f"{text.lineno}: {text.value}" for text in texts]
    return sorted(set(found))


def _docstring(node: ast.AST) -> Iterator[ast.Constant]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            yield first.value


def _index(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Subscript):
        yield node.slice


def _after_placeholders(node: ast.JoinedStr) -> Iterator[ast.Constant]:
    for before, part in zip(node.values, node.values[1:], strict=False):
        if isinstance(before, ast.FormattedValue) and isinstance(part, ast.Constant):
            yield part


def _is_key(node: ast.JoinedStr, part: ast.Constant) -> bool:
    return len(node.values) == 2 and bool(KEY.fullmatch(part.value))


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _texts(call: ast.Call) -> Iterator[ast.Constant]:
    """Texts among the arguments, also within a list or tuple; not those of a call inside."""
    waiting: list[ast.expr] = [*call.args, *(keyword.value for keyword in call.keywords)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.List | ast.Tuple):
            waiting += one.elts
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one


def test_no_table_is_named_outside_of_its_module() -> None:
    found = {
        str(file.relative_to(PACKAGE)): names
        for file in sorted(PACKAGE.rglob("*.py"))
        if PACKAGE / "tables" not in file.parents and (names := written(file.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        'lake.count(f"{pipeline}.raw_data")',
        'name.endswith(".trained_model")',
        'name = "evaluation_report"',
        'lake.rows("SELECT * FROM lake.flights.features")',
        'asset_key(spec, "champion")',
        'dg.AssetKey([spec.name, "predictions"])',
        'lake.exists("arrivals")',
        'Commit(f"{pipeline}/champion")',
        'f"lake.{pipeline}.lookup_{name}"',
    ],
)
def test_a_name_is_found(source: str) -> None:
    assert len(written(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        'alias(lake, pipeline, "champion")',
        'f"Materialize {pipeline}/features for the batch."',
        'row["features"]',
        'f"{spec.name}.features_of"',
        'def f() -> None:\n    """Reads raw_data FROM features."""',
        'folder / "outcomes"',
    ],
)
def test_other_words_are_not(source: str) -> None:
    assert written(source) == []
