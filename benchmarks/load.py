"""Requests to a server on this machine: by wrk where it is installed, else by a client on asyncio and httptools.

Both send prepared bodies in turn, over connections that stay open, and time each response. `ceiling` is what the client
reaches against a server that does nothing: a measurement near it is one of the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httptools
import numpy as np

SCRIPT = """
local bodies = {{}}
for line in io.lines("{bodies}") do bodies[#bodies + 1] = line end
local n = 0
request = function()
  n = n % #bodies + 1
  return wrk.format("POST", "{path}", {{["Content-Type"] = "application/json"}}, bodies[n])
end
done = function(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format("RESULT %d %d %f %f %d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), failed.connect + failed.read + failed.write + failed.status + failed.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What a client saw.

    Args:
        per_second: Responses a second.
        p50_ms: Median latency.
        p99_ms: Its 99th percentile.
        requests: How many.
        failed: Those without a 2xx.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    requests: int
    failed: int


def client() -> str:
    """Name of the client that is used."""
    return "wrk" if shutil.which("wrk") else "ours"


def run(port: int, path: str, bodies: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Send bodies as fast as they are answered.

    Args:
        port: Of the server on 127.0.0.1.
        path: To which they are posted.
        bodies: JSON without line breaks, sent in turn.
        connections: At a time.
        seconds: How long.
    """
    return (_wrk if client() == "wrk" else ours)(port, path, bodies, connections, seconds)


def _wrk(port: int, path: str, bodies: Sequence[bytes], connections: int, seconds: float) -> Load:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bodies").write_bytes(b"\n".join(bodies) + b"\n")
        script = Path(folder) / "script.lua"
        script.write_text(SCRIPT.format(bodies=f"{folder}/bodies", path=path))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
        command += ["--timeout", "30s", f"http://127.0.0.1:{port}"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) ([\d.]+) ([\d.]+) (\d+)", text)
    if found is None:
        raise RuntimeError(text)
    requests, micros, p50, p99, failed = (float(one) for one in found.groups())
    return Load(1e6 * requests / micros, p50 / 1000, p99 / 1000, int(requests), int(failed))


def ours(port: int, path: str, bodies: Sequence[bytes], connections: int, seconds: float) -> Load:
    """The same by our own client."""
    return asyncio.run(_all(port, [_request(path, body) for body in bodies], connections, seconds))


def _request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


class Client(asyncio.Protocol):
    """One connection, which sends its next request when the last is answered.

    Args:
        requests: What is sent in turn.
        first: The place of the first one.
        until: Clock time after which no request is sent.
    """

    def __init__(self, requests: Sequence[bytes], first: int, until: float) -> None:
        self._requests, self._next, self._until = requests, first, until
        self.taken: list[float] = []
        self.failed = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Send the first one."""
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        """Part of a response."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """A whole one."""
        now = time.perf_counter()
        self.taken.append(now - self._sent)
        self.failed += not 200 <= self._parser.get_status_code() < 300
        if now < self._until:
            asyncio.get_running_loop().call_soon(self._send)
        else:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """The end, or a server that is gone."""
        self.failed += time.perf_counter() < self._until
        if not self.ended.done():
            self.ended.set_result(None)


async def _all(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    loop, started = asyncio.get_running_loop(), time.perf_counter()
    clients = []
    for number in range(connections):
        made = partial(Client, requests, number, started + seconds)
        clients.append((await loop.create_connection(made, "127.0.0.1", port))[1])
    await asyncio.gather(*(one.ended for one in clients))
    taken = np.array([each for one in clients for each in one.taken])
    p50, p99 = np.percentile(1000 * taken, [50, 99]) if len(taken) else (np.nan, np.nan)
    failed = sum(one.failed for one in clients)
    return Load(len(taken) / (time.perf_counter() - started), float(p50), float(p99), len(taken), failed)


class _Nothing(asyncio.Protocol):
    """Answers each request with the same bytes, whatever it says; requests come whole."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, _: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}")


@contextlib.contextmanager
def bare_server() -> Iterator[int]:
    """A server that does nothing, in a thread; yields its port."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    loop: asyncio.AbstractEventLoop = new_event_loop()
    server = loop.run_until_complete(loop.create_server(_Nothing, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


def ceiling(bodies: Sequence[bytes], connections: int, seconds: float, send: Callable[..., Load] = run) -> Load:
    """What the client reaches against a server that does nothing."""
    with bare_server() as port:
        return send(port, "/", bodies, connections, seconds)


def as_bodies(payloads: Sequence[object]) -> list[bytes]:
    """Payloads as JSON in one line each."""
    return [json.dumps(payload).encode() for payload in payloads]
