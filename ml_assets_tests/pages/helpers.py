"""A server of the pages within the test's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from ml_assets.lake.paths import Paths
from ml_assets.pages.app import make
from ml_assets.server.keys import Keys
from ml_assets.ui.guard import Guard, Origins
from ml_assets_tests.ports import free_port


@contextmanager
def serving(paths: Paths, keys: Keys | None = None) -> Iterator[str]:
    """The pages of a project while the block runs; yields their address."""
    port = free_port()
    app = Guard(make(paths, keys or Keys(), watch=False), Origins.of(port))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server has not started"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
