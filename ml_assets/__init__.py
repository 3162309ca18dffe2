"""ml_assets: one YAML file becomes a whole machine-learning pipeline as a Dagster asset graph on a DuckDB lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_assets.telemetry  # noqa: F401 - before any library that would report its use

if TYPE_CHECKING:
    from ml_assets.component import MLPipeline
    from ml_assets.io_manager import LakeIOManager
    from ml_assets.loading import load_from_defs_folder
    from ml_assets.notebook import open_lake, training_rows

__all__ = ["LakeIOManager", "MLPipeline", "__version__", "load_from_defs_folder", "open_lake", "training_rows"]
__version__ = "0.1.0"

# Imported at their first use: `import ml_assets` in a notebook must not load Dagster.
_LAZY = {
    "LakeIOManager": "ml_assets.io_manager",
    "MLPipeline": "ml_assets.component",
    "load_from_defs_folder": "ml_assets.loading",
    "open_lake": "ml_assets.notebook",
    "training_rows": "ml_assets.notebook",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ml_assets' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
