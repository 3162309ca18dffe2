"""The server of the HTML reports: a folder's files, for this machine's browser, and for nothing that a page asks for.

Reports hold data of other people. What they may do is therefore little: their own scripts and styles, and pictures
that they hold themselves; no connection to anywhere.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ml_assets.errors import ServingError
from ml_assets.ui.guard import Origins

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'unsafe-inline'",  # Evidently's and Plotly's, inside the page
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
        "font-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "sandbox allow-scripts allow-popups allow-downloads",  # an origin of its own, without cookies or storage
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
TIMEOUT_S = 30


class Handler(SimpleHTTPRequestHandler):
    """Files, with headers that keep a page from doing more than showing itself."""

    timeout = TIMEOUT_S

    def __init__(self, *arguments: Any, origins: Origins, **more: Any) -> None:
        self.origins = origins
        super().__init__(*arguments, **more)

    def send_head(self) -> Any:
        """Refuse what is not asked for by this machine's name, or by a page of another site."""
        why = self.origins.refusal(self.command, [(name.lower(), value) for name, value in self.headers.items()])
        if why is None:
            return super().send_head()
        self.send_error(403, "Forbidden", why)
        return None

    def end_headers(self) -> None:
        """Send ours with every answer, errors included."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests."""


@contextlib.contextmanager
def served(folder: Path, port: int, address: str | None = None, host: str = "127.0.0.1") -> Iterator[int]:
    """Serve a folder's files while the block runs; yields the port.

    Args:
        folder: Created where missing.
        port: 0 chooses a free one.
        address: Where people reach it, if not there.
        host: Address to bind.

    Raises:
        ServingError: The port is taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        server = ThreadingHTTPServer((host, port), SimpleHTTPRequestHandler)
    except OSError as error:
        raise ServingError(
            f"Port {port} for the reports is taken.", found=error, fix="Choose another --port."
        ) from error
    port = server.server_port
    handler = partial(Handler, directory=str(folder), origins=Origins.of(port, address))
    server.RequestHandlerClass = handler
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
