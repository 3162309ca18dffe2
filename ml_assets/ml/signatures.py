"""What an estimator's source says about it, without importing it: that would take seconds at each load.

Whatever the source leaves open (compiled modules, `**kwargs`, names that are made at run time) counts as unknown, and
is left to the training.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ml_assets.errors import SpecError, did_you_mean, nearest

DEPTH = 20  # imports and base classes that are followed, one after the other
EXAMPLE = "Name a class with scikit-learn's interface, such as sklearn.linear_model.LogisticRegression."
LIBRARIES = ("sklearn", "lightgbm", "xgboost", "catboost")
INTERFACE = ("fit", "predict", "get_params")
Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Class:
    """A class and its bases, in the order in which Python looks names up (the first of equal ones wins).

    Args:
        names: Of the class and of all its bases.
        methods: What they define.
        init: Parameters of __init__; None where it takes any, or cannot be found.
        whole: Could every base be found?
    """

    names: tuple[str, ...]
    methods: frozenset[str]
    init: frozenset[str] | None
    whole: bool

    @property
    def predicts(self) -> str | None:
        """`classes` or `values`; None where that cannot be told."""
        found = {
            word
            for name in self.names
            for part, word in (("Classifier", "classes"), ("Regressor", "values"))
            if part in name
        }
        return found.pop() if len(found) == 1 else None


def check_path(path: str) -> None:
    """Refuse an estimator that does not exist, and what cannot be one.

    Raises:
        SpecError: The module is not installed, has no such name, or that is no class with scikit-learn's interface.
    """
    module, _, name = path.rpartition(".")
    top = module.split(".")[0]
    if top in sys.stdlib_module_names:
        raise SpecError(f"{path} is no estimator: it belongs to Python itself.", fix=EXAMPLE)
    if importlib.util.find_spec(top) is None:
        near = nearest(top, LIBRARIES)
        raise SpecError(
            f"The estimator's package {top!r} is not installed.",
            found=path,
            fix=f"did you mean {near!r}?" if near else f"pip install {top}, or correct the path.",
        )
    file = _file(module)
    if file is not None and not file.exists():
        raise SpecError(f"There is no module {module!r}.", fix="Correct the estimator's import path.")
    names = _names(module)
    if names is not None and name not in names:
        classes = [word for word in names if word[:1].isupper()]
        raise SpecError(f"{module} has no {name!r}; {did_you_mean(name, classes or names)}", found=path)
    why = _unfit(path)
    if why:
        raise SpecError(f"{path} is no estimator: {why}.", fix=EXAMPLE)


def _unfit(path: str) -> str | None:
    """Why what is at an import path cannot be an estimator, as far as its source tells."""
    module, _, name = path.rpartition(".")
    file, found = _file(path), _found(module, name, DEPTH)
    if found is None:
        return "it is a module" if file is not None and file.exists() else None
    if isinstance(found[1], ast.FunctionDef):
        return "it is a function"
    known = estimator(path)
    missing = [word for word in INTERFACE if word not in known.methods] if known and known.whole else []
    return f"it has no {' and no '.join(f'{word}()' for word in missing)}" if missing else None


def check_parameter(path: str, name: str) -> None:
    """Refuse a parameter that the estimator does not have.

    Raises:
        SpecError: It has not.
    """
    known = estimator(path)
    if known is not None and known.init is not None and name not in known.init:
        raise SpecError(f"{path} has no parameter {name!r}; {did_you_mean(name, known.init)}")


def check_kind(path: str, kind: str, calibrated: bool) -> None:
    """Refuse an estimator of values for a target of classes, the reverse, and one without probabilities.

    Raises:
        SpecError: It does not fit target.kind.
    """
    known = estimator(path)
    if known is None:
        return
    wanted = "values" if kind == "regression" else "classes"
    if known.predicts not in (wanted, None):
        raise SpecError(
            f"{path} predicts {known.predicts}; target.kind {kind} needs {wanted}.",
            fix=f"Choose a {'regressor' if wanted == 'values' else 'classifier'}, or correct target.kind.",
        )
    if wanted == "classes" and known.whole and "predict_proba" not in known.methods and not calibrated:
        raise SpecError(f"{path} gives no probabilities (predict_proba).", fix="Add calibrate: sigmoid.")


@cache
def estimator(path: str) -> Class | None:
    """The class at an import path; None where its source does not tell."""
    module, _, name = path.rpartition(".")
    found = list(_bases(module, name, DEPTH))
    classes = [node for node in found if isinstance(node, ast.ClassDef)]
    if not classes or not isinstance(found[0], ast.ClassDef):
        return None
    whole = len(classes) == len(found)
    methods = [name for node in classes for name in _defined(node)]
    names = [node.name if isinstance(node, ast.ClassDef) else node for node in found]
    return Class(tuple(names), frozenset(methods), _init(found), whole)


def _init(classes: list[ast.ClassDef | str]) -> frozenset[str] | None:
    """Parameters of the first __init__; None behind a base that was not found."""
    for node in classes:
        if isinstance(node, str):
            return None
        for made in node.body:
            if isinstance(made, ast.FunctionDef) and made.name == "__init__":
                given = made.args
                return None if given.kwarg else frozenset(one.arg for one in (*given.args[1:], *given.kwonlyargs))
        if node.decorator_list:
            return None  # a dataclass, for example
    return frozenset()


def _defined(node: ast.ClassDef) -> Iterator[str]:
    for made in node.body:
        if isinstance(made, ast.FunctionDef):
            yield made.name
        elif isinstance(made, ast.Assign):
            yield from (target.id for target in made.targets if isinstance(target, ast.Name))


def _bases(module: str, name: str, depth: int) -> Iterator[ast.ClassDef | str]:
    """The class and its bases, depth first; the name alone of one that cannot be found."""
    place = _found(module, name, depth)
    if place is None:
        yield name
        return
    home, node = place
    if isinstance(node, ast.FunctionDef):
        yield name
        return
    yield node
    for base in node.bases:
        words = ast.unparse(base).partition("[")[0].split(".")
        if words[-1] in ("object", "ABC", "Generic", "Protocol"):
            continue
        yield from _bases(home, words[0], depth - 1) if len(words) == 1 else iter(words[-1:])


def _found(module: str, name: str, depth: int) -> tuple[str, Definition] | None:
    """The module that defines a class or function, and its definition; imports are followed."""
    tree = _tree(module)
    if tree is None or depth <= 0:
        return None
    for node in _statements(tree.body):
        if isinstance(node, Definition) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _found(_absolute(module, node), alias.name, depth - 1)
    return None


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Statements of a module, those under `if` and `try` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            yield from _statements(ast.iter_child_nodes(node))


def _absolute(module: str, node: ast.ImportFrom) -> str:
    """The module that `from ..base import x` means."""
    if not node.level:
        return node.module or ""
    file = _file(module)
    package = module.split(".") if file and file.name == "__init__.py" else module.split(".")[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


@cache
def _tree(module: str) -> ast.Module | None:
    file = _file(module)
    return ast.parse(file.read_text(encoding="utf-8")) if file and file.exists() else None


def _file(module: str) -> Path | None:
    """A module's source file, which may not exist; None where its package has none."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    if not rest and not spec.submodule_search_locations:
        return Path(spec.origin)
    path = Path(spec.origin).parent.joinpath(*rest)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _names(module: str) -> frozenset[str] | None:
    """Names that a module's source defines or imports; None where that cannot be told without importing it."""
    tree = _tree(module)
    if tree is None:
        return None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            names.add(node.value)  # names of lazily loaded modules stand in __all__ as strings
    return None if "*" in names else frozenset(names)
