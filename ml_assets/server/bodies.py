"""The bodies that are arriving. They are bounded one by one and together, since each is held until it is whole."""

from __future__ import annotations

from starlette.requests import Request

from ml_assets.server.problems import Problem

MAX_BYTES = 8 * 2**20
MAX_HELD = 8 * MAX_BYTES  # of all bodies that are arriving at a time
TOO_LARGE = f"The body is larger than {MAX_BYTES:,} bytes; send fewer rows."
TOO_MANY = "Too many requests are arriving; try again."


class Bodies:
    """The bodies that are arriving at a server."""

    def __init__(self) -> None:
        self._held = 0

    async def read(self, request: Request) -> bytearray:
        """The body of a request.

        Raises:
            Problem: It is too large, or too much is arriving.
            ClientDisconnect: The client is gone.
        """
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > MAX_BYTES:
            raise Problem(413, "too-large", TOO_LARGE)
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                self._held += len(chunk)
                if len(body) > MAX_BYTES:
                    raise Problem(413, "too-large", TOO_LARGE)
                if self._held > MAX_HELD:
                    raise Problem(503, "too-busy", TOO_MANY)
        finally:
            self._held -= len(body)
        return body
