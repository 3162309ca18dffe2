"""`python -m ml_assets.server FOLDER`: serve one release."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.errors import MLAssetsError

if TYPE_CHECKING:
    from starlette.applications import Starlette


class WithoutPandas:
    """Lets pyarrow and DuckDB go without pandas, which they import where it is installed: 60 MiB for nothing."""

    def find_spec(self, name: str, *_: Any) -> None:
        """Refuse pandas; leave every other name to the other finders."""
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def needs_pandas(folder: Path) -> bool:
    """Does a release compute with frames: by a features function, or because scikit-learn answers?"""
    from ml_assets.ml import bundle, release

    try:
        return release.read_facts(folder).function is not None or bundle.verify(folder / "bundle").engine != "onnx"
    except (OSError, ValueError, TypeError, MLAssetsError):
        return False  # what is wrong with it is said when it is loaded


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m ml_assets.server", description="Serve a release over HTTP.")
    parser.add_argument("folder", type=Path, help="folder of the release")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one; default: 8000")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; default: 127.0.0.1")
    given = parser.parse_args()
    if not needs_pandas(given.folder):
        sys.meta_path.insert(0, WithoutPandas())

    def load() -> tuple[Starlette, str]:
        from ml_assets.server.app import Serving, app
        from ml_assets.server.scorer import Scorer

        serving = Serving(Scorer(given.folder.resolve()))
        facts = serving.scorer.facts
        return app(serving), f"{facts.pipeline} {facts.version}"

    from ml_assets.server.process import run

    try:
        run(load, given.host, given.port)
    except MLAssetsError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
