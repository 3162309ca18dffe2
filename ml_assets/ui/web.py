"""`python -m ml_assets.ui.web HOST PORT WORKSPACE`: Dagster's web server behind the guard.

Dagster itself executes what any page in the browser sends it, mutations by GET included.

Links to the pages in Dagster's records begin with /ml-assets: they hold wherever both are served, because where the
pages are is decided when a link is followed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from ml_assets.pages.addresses import BELOW_DAGSTER, ENV_PAGES_URL
from ml_assets.ui.guard import App, Guard, Message, Origins, Receive, Send

ENV_UI_URL = "ML_ASSETS_UI_URL"
STOP_S = 2  # open pages hold a connection for ever


@dataclass(frozen=True)
class WithPages:
    """Dagster's app, beside what leads on to the pages.

    Args:
        app: Dagster's.
        port: That of the pages, on the host that was asked.
        pages: Their address for people, where that is another one.
    """

    app: App
    port: int
    pages: str | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not f"{path}/".startswith(f"{BELOW_DAGSTER}/"):
            return await self.app(scope, receive, send)
        raw = (scope.get("raw_path") or path.encode()).decode("latin-1")
        query = scope.get("query_string", b"").decode("latin-1")
        to = (
            self._base(dict(scope["headers"]))
            + (raw.removeprefix(BELOW_DAGSTER) or "/")
            + (f"?{query}" if query else "")
        )
        headers = [(b"location", to.encode("latin-1")), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 307, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return None

    def _base(self, headers: dict[bytes, bytes]) -> str:
        host = urlsplit("//" + headers.get(b"host", b"127.0.0.1").decode("latin-1")).hostname or "127.0.0.1"
        own = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        return (self.pages or own).rstrip("/")


def serve(host: str, port: int, workspace: str) -> None:
    """Serve until a signal ends it."""
    import uvicorn
    from dagster._cli.utils import get_possibly_temporary_instance_for_cli
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._utils.log import configure_loggers
    from dagster_webserver import cli
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    configure_loggers(log_level="INFO")
    with get_possibly_temporary_instance_for_cli("ml-assets ui") as instance:
        instance.optimize_for_webserver(
            cli.DEFAULT_DB_STATEMENT_TIMEOUT, cli.DEFAULT_POOL_RECYCLE, cli.DEFAULT_POOL_MAX_OVERFLOW
        )
        target = WorkspaceFileTarget([workspace])
        with WorkspaceProcessContext(instance, target, version=__version__) as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=2000)
            app_with_pages = WithPages(app, port + 1, _elsewhere(port + 1))
            guarded = Guard(app_with_pages, Origins.of(port, os.environ.get(ENV_UI_URL)))
            uvicorn.run(guarded, host=host, port=port, log_level="warning", timeout_graceful_shutdown=STOP_S)


def _elsewhere(port: int) -> str | None:
    """The address of the pages that somebody has set; None where it is that of this machine."""
    found = os.environ.get(ENV_PAGES_URL)
    return None if found == f"http://127.0.0.1:{port}" else found


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
