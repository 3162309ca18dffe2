"""An HTTP connection that no client can keep for long, or fill with what never becomes a request.

uvicorn bounds neither how long a request may take to arrive nor, with httptools, the size of its head; a value that
grows for ever is copied at each read, and one client then stalls all others.
"""

from __future__ import annotations

import asyncio
import http
import resource
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S, BODY_S, READ_S = 10.0, 30.0, 30.0  # for the head, for the body, for the client to read what was answered
MAX_PENDING = 2**16  # bytes, beyond one read, from which no part of a request comes: a head, a trailer, a chunk's size
MAX_CONNECTIONS = 500
SPARE_FILES = 64


def most_connections() -> int:
    """Connections at a time, so that the process has files left for what else it opens."""
    return max(8, min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES))


class HttpConnection(HttpToolsProtocol):
    """uvicorn's connection, with deadlines. Where there are too many, the one whose request has been arriving for
    longest makes room for the newest.
    """

    arriving: ClassVar[dict[HttpConnection, None]] = {}  # those whose request is not complete, the oldest first
    most: ClassVar[int] = MAX_CONNECTIONS
    _pending = 0
    _deadline: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _part = "head"
    _watched = ""  # the part that the deadline is for

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, if need be in place of another."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            next(iter(self.arriving), self)._refuse(http.HTTPStatus.SERVICE_UNAVAILABLE)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._part = "lost"
        self._watch()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and see that it leads anywhere."""
        self._pending += len(data)
        super().data_received(data)
        if self._pending > MAX_PENDING and not self.transport.is_closing():
            self._refuse(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._watch()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._part = "head"
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        self._part, self._pending = "body", 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of its body has come."""
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It is complete."""
        self._part, self._pending = "none", 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not read its responses: not for ever."""
        self._reading = self._reading or self.loop.call_later(READ_S, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        super().resume_writing()

    def _watch(self) -> None:
        """Set or end the deadline of the part that is arriving. Bytes after a complete request begin the next one."""
        part = "head" if self._part == "none" and self._pending else self._part
        if self.transport.is_closing():
            part = "lost"
        if part == self._watched:
            return
        self._watched = part
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if part in ("head", "body"):
            self.arriving.setdefault(self)
            seconds = HEAD_S if part == "head" else BODY_S
            self._deadline = self.loop.call_later(seconds, self._refuse, http.HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.arriving.pop(self, None)

    def _refuse(self, status: http.HTTPStatus) -> None:
        """Close; with a word where no response has begun."""
        cycle = self.cycle
        waits = cycle is None or not cycle.response_started or (cycle.response_complete and self._part == "head")
        if waits:
            response = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(response.encode())
        self.transport.close()
        self._watch()
