"""A server process: the port first, then the release, then requests until SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ml_assets.errors import ServingError

if TYPE_CHECKING:
    from starlette.applications import Starlette

READY = "ready on http://"
GRACE_S = 5
PARENT_S = 0.5  # between two looks at the parent


def run(load: Callable[[], tuple[Starlette, str]], host: str, port: int) -> None:
    """Load and serve. The port opens only when the release is ready.

    Args:
        load: Gives the application, and what it serves in words.
        host: Address to bind.
        port: Port to bind; 0 takes a free one.

    Raises:
        ServingError: The port is taken.
    """
    for word in (signal.SIGTERM, signal.SIGINT):  # before uvicorn takes over, and once it has ended
        signal.signal(word, lambda *_: sys.exit(0))
    with _bound(host, port) as bound:
        app, what = load()
        _serve(app, what, bound)


def end_with(parent: int) -> None:
    """End this process as soon as its parent is another one: then the one that started it is gone.

    That is seen on every POSIX system, and also where the parent was killed before it could say anything.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def _serve(app: Starlette, what: str, bound: socket.socket) -> None:
    import uvicorn

    from ml_assets.server.connection import Connection, most_connections

    Connection.most = most_connections()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            host, port = bound.getsockname()[:2]
            print(f"{what} {READY}{host}:{port}", flush=True)

    config = uvicorn.Config(
        app, http=Connection, ws="none", log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S
    )
    Server(config).run(sockets=[bound])


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        fix = "Choose another --port; 0 takes a free one."
        raise ServingError(f"Port {port} of {host} cannot be used.", found=error.strerror, fix=fix) from error
    return bound
