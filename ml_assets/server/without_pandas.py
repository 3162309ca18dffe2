"""pyarrow and DuckDB import pandas where it is installed: a second and 60 MiB, for nothing if no frame is computed."""

from __future__ import annotations

import sys
from typing import Any


class WithoutPandas:
    """Refuses pandas; other finders are asked for every other name."""

    def find_spec(self, name: str, *_: Any) -> None:
        """Refuse pandas; leave every other name to the other finders."""
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


_finder = WithoutPandas()


def refuse_pandas() -> None:
    """From now on pandas is not there."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def allow_pandas() -> None:
    """A release computes with frames: pandas is there again."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
