"""Clients that mean harm, against a scoring server on this machine: slow ones, endless ones, many, and broken requests.

While each attack lasts, an honest client goes on asking; its slowest answer is measured. All are bounded in number,
bytes and time, and go to 127.0.0.1 only.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

STALL_S = 1.0  # an honest client's answer may take this long under attack
PREDICT, HEALTH = "/v1/loans/predict", "/health/live"
HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()


class Row(NamedTuple):
    """What was tried, how often, how often it held, and what was measured."""

    what: str
    tried: int
    held: int
    note: str = ""


@dataclass
class Honest:
    """An honest client beside an attack."""

    port: int
    slowest_s: float = 0.0
    failed: list[str] = field(default_factory=list)
    asked: int = 0

    @contextlib.contextmanager
    def asking(self) -> Iterator[Honest]:
        """Ask /health/live again and again while the block runs."""
        ended = threading.Event()

        def ask() -> None:
            while True:
                before = time.monotonic()
                self._ask()
                self.asked += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - before)
                if ended.wait(0.02):
                    return

        client = threading.Thread(target=ask)
        client.start()
        try:
            yield self
        finally:
            ended.set()
            client.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            with contextlib.closing(connection):
                connection.request("GET", HEALTH)
                if connection.getresponse().status != http.HTTPStatus.OK:
                    self.failed.append("no 200")
        except (OSError, http.client.HTTPException) as error:
            self.failed.append(f"{type(error).__name__}: {error}")

    @property
    def is_well(self) -> bool:
        """Was it answered each time, and soon?"""
        return not self.failed and self.slowest_s < STALL_S


def slow_clients(port: int, within_s: float, clients: int = 40) -> list[Row]:
    """Connections that send nothing, a byte now and then, half a head, half a body: all are closed within a time.

    Args:
        port: Of the server on 127.0.0.1.
        within_s: Seconds after which a connection must have been closed.
        clients: Connections of each kind.
    """
    kinds: dict[str, tuple[bytes, bytes]] = {
        "connections that send nothing": (b"", b""),
        "connections that send line breaks": (b"\r\n", b"\r\n"),
        "heads that come byte by byte": (HEAD + b"X: ", b"a"),
        "heads that never end": (HEAD, b""),
        "bodies that come byte by byte": (HEAD + b"Content-Length: 9000\r\n\r\n{", b" "),
        "bodies that never come": (HEAD + b"Content-Length: 9000\r\n\r\n", b""),
        "chunks that never end": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", b""),
        "bodies that nobody reads": (b"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n", b" "),
    }
    opened = {kind: [_opened(port, first) for _ in range(clients)] for kind, (first, _) in kinds.items()}
    closed = dict.fromkeys(kinds, 0)
    deadline = time.monotonic() + within_s
    honest = Honest(port)
    with honest.asking():
        while any(opened.values()) and time.monotonic() < deadline:
            for kind, (_, drip) in kinds.items():
                left = [one for one in opened[kind] if not _is_closed(one, drip)]
                closed[kind] += len(opened[kind]) - len(left)
                opened[kind] = left
            time.sleep(0.05)
    for left in opened.values():
        for one in left:
            one.close()
    rows = [Row(kind, clients, count, f"closed within {within_s:g} s") for kind, count in closed.items()]
    return [*rows, _beside("slow clients", honest)]


def endless(port: int, most: int = 2**24) -> list[Row]:
    """Requests without end: a header, headers, an address, a trailer, a chunk's extension; each is closed before `most`
    bytes, and nobody else waits.
    """
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    kinds = {
        "a header's value without end": (HEAD + b"X: ", b"a" * 65_536),
        "a header's name without end": (HEAD, b"a" * 65_536),
        "headers without end": (HEAD, b"X: y\r\n" * 8_192),
        "an address without end": (b"GET /", b"a" * 65_536),
        "a trailer without end": (chunked + b"2\r\n{}\r\n0\r\nX: ", b"a" * 65_536),
        "a chunk's extension without end": (chunked + b"2;x=", b"a" * 65_536),
        "line breaks without end": (b"", b"\r\n" * 32_768),
    }
    honest = Honest(port)
    rows = []
    with honest.asking():
        for kind, (first, more) in kinds.items():
            sent = _sent_until_closed(port, first, more, most)
            rows.append(Row(kind, 1, int(sent < most), f"closed after {sent:,} bytes"))
    return [*rows, _beside("endless requests", honest)]


def held_bodies(port: int, rss_mib: Callable[[], float], clients: int = 60, size: int = 7 * 2**20) -> list[Row]:
    """Bodies that are sent up to their last byte and held there: memory stays bounded, and others are answered."""
    before = rss_mib()
    honest = Honest(port)
    opened = []
    with honest.asking():
        for _ in range(clients):
            one = _opened(port, HEAD + f"Content-Length: {size + 1}\r\n\r\n".encode())
            with contextlib.suppress(OSError):
                for _ in range(size // 65_536):
                    one.sendall(b" " * 65_536)
            opened.append(one)
        grown = rss_mib() - before
    for one in opened:
        one.close()
    note = f"{grown:.0f} MiB more for {clients * size / 2**20:.0f} MiB sent"
    return [Row("bodies held before their last byte", clients, clients * (grown < 200), note), _beside("them", honest)]


def many_connections(port: int, clients: int = 700) -> list[Row]:
    """More connections than the server takes: an honest client still gets one."""
    opened = [_opened(port, HEAD) for _ in range(clients)]
    honest = Honest(port)
    with honest.asking():
        time.sleep(0.5)
    for one in opened:
        one.close()
    return [_beside(f"{clients} open connections", honest)]


def _opened(port: int, first: bytes) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), timeout=10)
    with contextlib.suppress(OSError):
        one.sendall(first)
    return one


def _is_closed(one: socket.socket, drip: bytes) -> bool:
    """Has the server closed it? A byte more is sent where the client drips."""
    try:
        while select.select([one], [], [], 0)[0]:
            if not one.recv(65_536):
                one.close()
                return True
        one.sendall(drip)
    except OSError:
        one.close()
        return True
    return False


def _sent_until_closed(port: int, first: bytes, more: bytes, most: int) -> int:
    """Bytes that a server takes before it closes; `most` where it does not."""
    sent = 0
    with contextlib.closing(_opened(port, first)) as one:
        while sent < most:
            try:
                one.sendall(more)
            except OSError:
                return sent
            sent += len(more)
    return sent


def _beside(what: str, honest: Honest) -> Row:
    note = f"slowest answer {1000 * honest.slowest_s:.0f} ms{'; ' + honest.failed[0] if honest.failed else ''}"
    held = honest.asked if honest.is_well else honest.asked - max(1, len(honest.failed))
    return Row(f"an honest client beside {what}", honest.asked, held, note)
