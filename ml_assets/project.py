"""The project around the working directory, as Dagster sees it."""

from __future__ import annotations

import importlib
import sys
import tomllib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.errors import MLAssetsError, SpecError

if TYPE_CHECKING:
    import dagster as dg


def definitions(root: Path) -> dg.Definitions:
    """What the module that pyproject.toml names as `[tool.dagster] module_name` defines.

    Raises:
        SpecError: pyproject.toml names no module, or the module cannot be loaded.
        MLAssetsError: A pipeline of it is wrong.
    """
    import dagster as dg

    module = module_name(root)
    importable(root)
    # For the whole process: some come only when the graph is resolved. `dagster definitions validate` shows them.
    for category in (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning):
        warnings.filterwarnings("ignore", category=category)
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # whatever a user's module may raise
        raise mendable(error, module) from error
    for value in vars(loaded).values():
        if isinstance(value, dg.Definitions):
            return value
    raise SpecError(
        f"{module} holds no dagster.Definitions.",
        where={"file": loaded.__file__},
        fix="Build them at module level: defs = dg.Definitions.merge(...), see docs/running.md.",
    )


def importable(root: Path) -> None:
    """Let the project's own packages be imported, wherever this process was started and whatever is installed."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def module_name(root: Path) -> str:
    """The module of the project's definitions.

    Raises:
        SpecError: There is no pyproject.toml, it cannot be parsed, or it names none.
    """
    file = root / "pyproject.toml"
    fix = 'Add to it: [tool.dagster] module_name = "PACKAGE.definitions".'
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("dagster", {}).get("module_name")
    except FileNotFoundError:
        raise SpecError("There is no pyproject.toml here.", where={"folder": root}, fix="Go to the project.") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError("pyproject.toml cannot be parsed.", found=error, where={"file": file}) from error
    if not found:
        raise SpecError("pyproject.toml does not name the module of the definitions.", where={"file": file}, fix=fix)
    return str(found)


def mendable(error: BaseException, module: str) -> MLAssetsError:
    """Our own error where Dagster has wrapped one, else one that says what was raised."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, MLAssetsError):
            return chain
        chain = chain.__cause__ or chain.__context__
    return SpecError(
        f"The definitions of {module} cannot be loaded.",
        found=f"{type(error).__name__}: {error}",
        fix="`dagster definitions validate` shows the traceback.",
    )
