"""Clients that are slow, endless or many, against a real server with short deadlines on real sockets."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.torture import server_attacks
from ml_assets.server import bodies, connection
from ml_assets.server.problems import Problem


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server whose deadlines are short and whose bounds are low; its predict route says how long the body was."""
    arriving = bodies.Bodies()

    async def predict(request: Request) -> Response:
        try:
            return PlainTextResponse(str(len(await arriving.read(request))))
        except Problem as problem:
            return PlainTextResponse(problem.detail, status_code=problem.status)
        except ClientDisconnect:
            return Response()

    async def health(_: Request) -> Response:
        return PlainTextResponse("well")

    routes = [Route(server_attacks.PREDICT, predict, methods=["POST"]), Route(server_attacks.HEALTH, health)]
    with pytest.MonkeyPatch.context() as patch, socket.socket() as bound:
        for name in ("HEAD_S", "BODY_S", "READ_S"):
            patch.setattr(connection, name, 0.6)
        patch.setattr(connection.HttpConnection, "most", 80)
        patch.setattr(bodies, "MAX_HELD", 2**20)
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        config = uvicorn.Config(
            Starlette(routes=routes), http=connection.HttpConnection, ws="none", log_level="critical"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def all_held(rows: list[server_attacks.Row]) -> bool:
    return all(row.held == row.tried > 0 for row in rows) or pytest.fail(str(rows))


def test_slow_clients_are_closed_and_nobody_waits_for_them(port: int) -> None:
    assert all_held(server_attacks.slow_clients(port, within_s=4, clients=4))
    assert connection.HttpConnection.arriving == {}


def test_requests_without_end_are_closed(port: int) -> None:
    assert all_held(server_attacks.endless(port))


def test_the_connection_that_has_been_arriving_for_longest_makes_room(port: int) -> None:
    first = server_attacks._opened(port, server_attacks.HEAD)
    assert all_held(server_attacks.many_connections(port, clients=120))
    assert first.recv(100).startswith(b"HTTP/1.1 503 ")
    first.close()


def test_bodies_are_bounded_together_and_one_by_one(port: int) -> None:
    def ask(size: int, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request("POST", server_attacks.PREDICT, b"x" * size, headers or {})
        response = client.getresponse()
        found = response.status, response.read()
        client.close()
        return found

    assert ask(900_000) == (200, b"900000")
    assert ask(2**20 + 400_000)[0] == 503
    assert ask(900_000) == (200, b"900000")  # what was held is free again
    refused = ask(10, {"Content-Length": str(bodies.MAX_BYTES + 1)})  # told before the body comes
    assert refused == (413, bodies.TOO_LARGE.encode())
