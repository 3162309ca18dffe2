"""A real HTTP receiver in a thread, which answers as it is told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What was received, and what is answered.

    Args:
        port: Its port on 127.0.0.1.
        answers: Status of each answer to come, then 200; 0 never answers.
        bodies: What was received, parsed.
        facts: JSON object of the answers.
        calls: Paths of the GET requests.
    """

    port: int = 0
    answers: list[int] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/services/s3cret"


@contextlib.contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver until the block ends."""
    made, ended = Receiver(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            made.bodies.append(json.loads(self.rfile.read(length)))
            self._answer()

        def do_GET(self) -> None:
            made.calls.append(self.path)
            self._answer()

        def _answer(self) -> None:
            status = made.answers.pop(0) if made.answers else 200
            if status == 0:
                ended.wait(20)
                return
            body = json.dumps(made.facts).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", made.url)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    made.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield made
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
