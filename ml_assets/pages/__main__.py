"""`python -m ml_assets.pages HOST PORT [KEYS]`: the server of the pages, for the project around this folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import uvicorn

from ml_assets.lake.paths import Paths
from ml_assets.pages.addresses import ENV_PAGES_URL
from ml_assets.pages.app import make
from ml_assets.pages.serving import announced
from ml_assets.server.keys import read_keys
from ml_assets.ui.guard import Guard, Origins

STOP_S = 2


def serve(host: str, port: int, keys: Path | None = None) -> None:
    """Serve until a signal ends it."""
    paths = Paths.of()
    guarded = Guard(make(paths, read_keys(keys)), Origins.of(port, os.environ.get(ENV_PAGES_URL)))
    with announced(paths.data, host, port):
        uvicorn.run(guarded, host=host, port=port, log_level="warning", timeout_graceful_shutdown=STOP_S)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
