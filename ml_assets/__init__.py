"""ml_assets: one YAML file becomes a whole machine-learning pipeline as a Dagster asset graph on a DuckDB lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_assets.api import open_lake, training_rows
    from ml_assets.component import MLPipeline
    from ml_assets.io_manager import LakeIOManager

__all__ = ["LakeIOManager", "MLPipeline", "__version__", "open_lake", "training_rows"]
__version__ = "0.1.0"

# Imported at their first use: `import ml_assets` in a notebook must not load Dagster.
_LAZY = {
    "LakeIOManager": "ml_assets.io_manager",
    "MLPipeline": "ml_assets.component",
    "open_lake": "ml_assets.api",
    "training_rows": "ml_assets.api",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ml_assets' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
