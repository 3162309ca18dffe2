"""A Python function in place of the features SELECT: pandas DataFrames in, one DataFrame out.

Its parameters are the views that the SELECT would see, as copies; so it is blind to outcomes and target in the same
way. At load its source is read and parsed, never imported: what it imports may take seconds.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.errors import FeatureError, LakeError, SpecError, did_you_mean
from ml_assets.graph.code_version import closure, module_hashes, source_file
from ml_assets.graph.features.select import leaks
from ml_assets.lake import frames
from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier, identifiers, table
from ml_assets.ml.feature_types import feature_type
from ml_assets.spec import PipelineSpec
from ml_assets.tables.audit import last_writes
from ml_assets.tables.data import FEATURES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Function:
    """The features function of a pipeline, as its source tells.

    Args:
        name: As the YAML has it, for errors.
        module: Dotted name to import.
        function: Its name in the module.
        parameters: Names of the views that it takes.
        file: Its Python file.
        line: Where it begins.
        text: Its source.
    """

    name: str
    module: str
    function: str
    parameters: tuple[str, ...]
    file: Path
    line: int
    text: str

    @property
    def sources(self) -> dict[str, str]:
        """Name -> text of its module and of what that imports of the same project."""
        files = {name: source_file(name) for name in sorted(closure(self.module))}
        return {f"{name}.py": file.read_text(encoding="utf-8") for name, file in files.items() if file}

    @property
    def version(self) -> list[str]:
        """Hashes of the code that it depends on in the same project."""
        return module_hashes(self.module)


def is_function(features: str) -> bool:
    """Does the YAML's `features` name a Python function, and not a SQL file?"""
    return ":" in features


def find_function(features: str, folder: Path, views: Collection[str]) -> Function:
    """Find and parse `features.py:make` (a file beside the YAML) or `package.module:make`, without importing it.

    Args:
        features: As it stands in the YAML.
        folder: Where the YAML lies.
        views: Names that its parameters may have.

    Raises:
        SpecError: No such module or function, source that cannot be parsed, or a parameter that is no view.
    """
    place, _, name = features.partition(":")
    module = _module_of_file(folder / place) if place.endswith(".py") else place
    file = source_file(module)
    if file is None:
        raise _not_found(module)
    try:
        closure(module)
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except SyntaxError as error:
        where = {"file": error.filename or file, "line": error.lineno}
        raise SpecError(f"features: {module} cannot be parsed.", found=error.msg, where=where) from error
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name not in defined:
        fix = did_you_mean(name, defined) if defined else "Define it there with `def`."
        raise SpecError(f"features: {module} defines no function {name!r}.", where={"file": file}, fix=fix)
    node = defined[name]
    parameters = _parameters(node, name, file, views)
    source = ast.get_source_segment(text, node) or ""
    return Function(features, module, name, parameters, file, node.lineno, source)


def _module_of_file(file: Path) -> str:
    """The dotted name by which Python imports a file."""
    if not file.is_file():
        present = ", ".join(sorted(path.name for path in file.parent.glob("*.py"))) or "none"
        raise SpecError(
            "features names a file that does not exist.", found=file.name, fix=f"Python files beside it: {present}"
        )
    file = file.resolve()
    parts = file.with_suffix("").parts
    for start in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[start:])
        found = source_file(name)
        if found is not None and found.resolve() == file:
            return name
    raise SpecError(
        "features names a file that Python cannot import: no folder above it is on the import path.",
        where={"file": file},
        fix="Start Dagster in the project's folder, or install the project (pip install -e .).",
    )


def _not_found(module: str) -> SpecError:
    """Which part of a dotted name is missing, and where it was looked for."""
    parts = module.split(".")
    known = next((n for n in range(len(parts) - 1, 0, -1) if _folders(".".join(parts[:n]))), 0)
    folders = _folders(".".join(parts[:known])) if known else [entry or str(Path.cwd()) for entry in sys.path]
    near = did_you_mean(parts[known], [found.name for found in pkgutil.iter_modules(folders)])
    return SpecError(
        f"features: there is no module {'.'.join(parts[: known + 1])!r}"
        + ("." if near.startswith("valid") else f"; {near}"),
        found=f"looked in {', '.join(folders)}",
        fix="Name a module on Python's import path as `package.module:function`, or a file beside the YAML as "
        "`features.py:function`.",
    )


def _folders(package: str) -> list[str]:
    """Folders of a package; none where there is no such package."""
    top, *rest = package.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:
        return []
    folders = [Path(folder, *rest) for folder in (spec.submodule_search_locations or ())] if spec else []
    return [str(folder) for folder in folders if folder.is_dir()]


def _parameters(node: ast.FunctionDef, name: str, file: Path, views: Collection[str]) -> tuple[str, ...]:
    where = {"file": file, "line": node.lineno}
    given = node.args
    if given.vararg or given.kwarg or given.posonlyargs:
        raise SpecError(
            f"features: the parameters of {name} are the names of the views that it takes, one by one.",
            where=where,
            fix=f"Leave out *, ** and /: def {name}(batch, ...).",
        )
    found = [argument.arg for argument in (*given.args, *given.kwonlyargs)]
    for word in found:
        if word not in views:
            raise SpecError(
                f"features: {name} has the parameter {word!r}, which is no view; {did_you_mean(word, views)}",
                where=where,
                fix="Parameters are `batch`, and the names under lookups and references.",
            )
    if "batch" not in found:
        raise SpecError(f"features: {name} does not take `batch`.", where=where, fix=f"def {name}(batch, ...)")
    return tuple(found)


def run_function(lake: Lake, spec: PipelineSpec, function: Function, into: str) -> None:
    """Call the function with the views of the batch; its DataFrame becomes a temporary table, `batch` in front.

    Args:
        lake: Its connection has the views.
        spec: The pipeline.
        function: The function.
        into: Name of the temporary table.

    Raises:
        FeatureError: The function cannot be imported, raises, leaks, or returns something that is no table of features.
    """
    import pandas as pd

    views = {name: _frame(lake, spec, name) for name in function.parameters}
    hidden = {*spec.outcome_columns, spec.target.name}
    try:
        made = getattr(importlib.import_module(function.module), function.function)(**views)
    except Exception as error:  # the user's code may raise anything
        raise _explained(error, function, hidden) from error
    where = {"file": function.file, "line": function.line}
    if not isinstance(made, pd.DataFrame):
        raise FeatureError(f"{function.name} must return a pandas DataFrame.", found=type(made).__name__, where=where)
    made = made.drop(columns="batch", errors="ignore")  # a constant, which is put in front of the features
    try:
        frames.store(lake.con, "function_rows", made)
    except LakeError as error:
        raise FeatureError(error.rule, found=error.found, where=where, fix=error.fix) from error
    lake.con.execute(
        f"CREATE OR REPLACE TEMP TABLE {identifier(into)} AS "
        "SELECT getvariable('batch')::VARCHAR AS batch, * FROM function_rows"
    )


def _frame(lake: Lake, spec: PipelineSpec, view: str) -> pd.DataFrame:
    """A copy of a view. Rows are ordered, so that the same data gives the same features."""
    complete: set[str] = set()
    order = ""
    if view == "batch":
        complete = {"row_id", *(column.name for column in spec.columns if not column.nullable)}
        order = " ORDER BY row_id"
    elif view in spec.lookups:
        order = f" ORDER BY {identifiers(spec.lookups[view].key)}"
    return frames.to_pandas(lake.con, f"SELECT * FROM {identifier(view)}{order}", complete)


def _explained(error: Exception, function: Function, hidden: Collection[str]) -> FeatureError:
    """The user's exception with the last place in the user's code, and no traceback of ours."""
    ours = {str(source_file(name)) for name in closure(function.module)}
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in ours]
    last = places[-1] if places else None
    file, line = (last.filename, last.lineno) if last else (function.file, function.line)
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    if isinstance(error, KeyError | AttributeError | NameError):
        for column in sorted(hidden):
            if re.search(rf"(?<!\w){re.escape(column)}(?!\w)", str(error)):
                return leaks(function.name, column, file=file, line=line)
    return FeatureError(
        f"{function.name} fails.",
        found=f"{type(error).__name__}: {error}",
        where={"file": file, "line": line},
        fix=f"The code there: {last.line}" if last and last.line else None,
    )


def check_steady(lake: Lake, spec: PipelineSpec, function: Function, made: str, batch: str, code_version: str) -> None:
    """Refuse columns or types that differ from those which the same code gave for another batch.

    A SELECT has the same columns for every batch. A function need not: `pd.get_dummies` has one for each value that it
    meets. Writing such a batch would take the columns that it lacks away from all others.

    Raises:
        FeatureError: Columns are new, missing, or text in one batch and numbers in another.
    """
    name = FEATURES.of(spec.name)
    if not lake.exists(name):
        return
    before = {column: feature_type(kind) for column, kind in lake.columns(table(name)).items()}
    now = {column: feature_type(kind) for column, kind in lake.columns(made).items()}
    if before == now:
        return
    asset = FEATURES.asset(spec.name)
    same_code = [
        write.batch
        for (key, _), write in last_writes(lake, spec.name).items()
        if key == asset and write.code_version == code_version and write.batch != batch
    ]
    if not same_code:
        return
    found: Mapping[str, Any] = {
        "new": sorted(now.keys() - before.keys()),
        "missing": sorted(before.keys() - now.keys()),
        "of another type": sorted(c for c in now.keys() & before.keys() if now[c] != before[c]),
    }
    raise FeatureError(
        f"{function.name} gives other columns for this batch than for batch {max(map(str, same_code))}.",
        found="; ".join(f"{what}: {', '.join(columns)}" for what, columns in found.items() if columns),
        where={"file": function.file, "line": function.line},
        fix="Columns and their dtypes must not depend on the rows: name the categories, or use .astype().",
    )
