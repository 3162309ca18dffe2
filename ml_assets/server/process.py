"""A server process: the port, then what is to be served, then requests until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import mmap
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.errors import ServingError
from ml_assets.server.without_pandas import refuse_pandas

if TYPE_CHECKING:
    from ml_assets.server.keys import Keys
    from ml_assets.server.registry import Registry
    from ml_assets.server.service import Service

GRACE_S = 5
UVICORN: dict[str, Any] = {
    "ws": "none",
    "lifespan": "off",
    "log_level": "warning",
    "access_log": False,
    "timeout_graceful_shutdown": GRACE_S,
}


@dataclass(frozen=True)
class Options:
    """How a server listens.

    Args:
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        workers: Processes that share the port.
        keys: File of API keys, beside those of the environment.
        insecure: May other machines ask without a key?
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    keys: Path | None = None
    insecure: bool = False


def run(make: Callable[[], Service], options: Options) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        make: Gives what is to be served; called in each worker, before any large library is imported.
        options: How to listen.

    Raises:
        ServingError: The port is taken, or other machines would be let in without a key.
        MLAssetsError: What is to be served cannot be loaded.
    """
    from ml_assets.server import workers
    from ml_assets.server.keys import check_address, read_keys
    from ml_assets.server.prometheus import shared

    _exit_on_signals()
    keys = read_keys(options.keys)
    check_address(options.host, keys, options.insecure)
    keys.is_local = not keys and not options.insecure
    with _bound(options.host, options.port) as bound:
        memory = shared(options.workers)
        host, port = bound.getsockname()[:2]

        def say(what: str) -> None:
            print(f"{what} ready on http://{host}:{port}", flush=True)

        if options.workers == 1:
            work(make, bound, keys, memory, 0, say, False)
        else:
            workers.supervise(
                lambda part, ready: work(make, bound, keys, memory, part, ready, True), options.workers, say
            )


def work(
    make: Callable[[], Service],
    bound: socket.socket,
    keys: Keys,
    memory: mmap.mmap,
    part: int,
    ready: Callable[[str], None],
    shares_port: bool,
) -> None:
    """Serve in this process.

    Args:
        make: Gives what is to be served.
        bound: The socket, which other workers may listen on, too.
        keys: Who may ask for what.
        memory: For the counters of all workers.
        part: Number of this worker.
        ready: Called with what is served, once it is loaded.
        shares_port: Do other workers listen on the socket?

    Raises:
        Exception: It cannot be loaded.
    """
    _exit_on_signals()
    refuse_pandas()
    import uvicorn

    from ml_assets.server.app import app
    from ml_assets.server.connection import HttpConnection, most_connections
    from ml_assets.server.counting import Counting
    from ml_assets.server.prometheus import Metrics
    from ml_assets.server.service import words

    service = make()
    HttpConnection.most = most_connections()

    class Server(uvicorn.Server):
        """Loads what is to be served: as soon as the port is open, or before, where others answer meanwhile."""

        failed: Exception | None = None

        def __init__(self, registry: Registry, config: uvicorn.Config) -> None:
            super().__init__(config)
            self.registry = registry

        async def startup(self, sockets: Any = None) -> None:
            if shares_port:  # those that are ready answer
                await self.load()
            await super().startup(sockets)
            self.working = asyncio.create_task(self.follow())

        async def load(self) -> None:
            try:
                await service.load()
            except Exception as error:
                self.failed, self.should_exit = error, True

        async def follow(self) -> None:
            if not shares_port:
                await self.load()
            if not self.should_exit:
                gc.collect()
                gc.freeze()  # what was loaded stays: a collection that walks through it stalls all requests
                ready(words(self.registry))
                await service.follow()

    async def serve() -> Exception | None:
        counting = Counting(Metrics(memory, part))
        registry = service.open(counting)
        application = app(registry, keys, counting)
        server = Server(registry, uvicorn.Config(application, http=HttpConnection, **UVICORN))
        try:
            await server.serve(sockets=[bound])
        finally:
            server.working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await server.working
            registry.close()
            service.close()
        return server.failed

    with asyncio.Runner(loop_factory=uvicorn.Config("", loop="auto").get_loop_factory()) as runner:
        failed = runner.run(serve())
    if failed is not None:
        raise failed


def _exit_on_signals() -> None:
    for word in (signal.SIGTERM, signal.SIGINT):  # before uvicorn takes over, and once it has ended
        signal.signal(word, lambda *_: sys.exit(0))


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
