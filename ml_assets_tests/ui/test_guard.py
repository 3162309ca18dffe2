"""What a foreign page in the same browser can send is refused; what Dagster's own pages and people send is taken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ml_assets.ui.guard import Guard, Origins

HERE = {"host": "127.0.0.1:3000"}
JSON = {"content-type": "application/json"}
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def status(kind: str, method: str, path: str, headers: dict[str, str] | list[tuple[str, str]]) -> int:
    """What a guarded app answers; it answers 200 itself."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    scope = {"type": kind, "method": method, "path": path, "headers": [(k.encode(), v.encode()) for k, v in pairs]}
    guard = Guard(app, Origins.of(3000, "https://loop.example.org/dagster"))
    asyncio.run(guard(scope, None, send))  # type: ignore[arg-type]
    return int(sent[0].get("status", 403))


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/graphql", {**HERE, **JSON}),  # a script of this machine
        ("POST", "/graphql", {**HERE, **JSON, "origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-origin"}),
        ("POST", "/graphql", {"host": "localhost:3000", **JSON, "origin": "http://localhost:3000"}),
        ("POST", "/graphql", {"host": "loop.example.org", **JSON, "origin": "https://loop.example.org"}),
        ("GET", "/graphql", {**HERE, "accept": "text/html"}),  # the GraphiQL page
        ("GET", "/runs/7", {**HERE, **LINK}),  # a link in a message
        ("GET", "/", {"host": "[::1]:3000"}),
    ],
)
def test_what_is_meant_is_taken(method: str, path: str, headers: dict[str, str]) -> None:
    assert status("http", method, path, headers) == 200


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        (
            "GET",
            "/graphql",
            HERE,
        ),  # <img src=".../graphql?query=mutation...">, of a browser that says nothing of itself
        ("GET", "/graphql/", {**HERE, "accept": "image/png"}),
        ("POST", "/graphql", {**HERE, "content-type": "text/plain"}),  # a form, or fetch() without a preflight
        ("POST", "/graphql", HERE),
        ("POST", "/graphql", {**HERE, **JSON, "origin": "http://evil.example"}),
        ("POST", "/graphql", {**HERE, **JSON, "origin": "null"}),
        ("POST", "/graphql", {**HERE, **JSON, "origin": "http://127.0.0.1:3001"}),  # a script in a report
        ("POST", "/graphql", {"host": "evil.example:3000", **JSON}),  # a foreign name that resolves to 127.0.0.1
        ("POST", "/report_asset_materialization/loans/raw_data", {**HERE, "sec-fetch-site": "cross-site"}),
        ("GET", "/", {**HERE, **LINK, "sec-fetch-dest": "iframe"}),
        ("GET", "/", {}),
        ("GET", "/", [("host", "127.0.0.1:3000"), ("host", "evil.example")]),
    ],
)
def test_what_a_foreign_page_sends_is_refused(method: str, path: str, headers: Any) -> None:
    assert status("http", method, path, headers) == 403


def test_a_foreign_websocket_is_closed_before_it_opens() -> None:
    assert status("websocket", "", "/graphql", {**HERE, "origin": "http://127.0.0.1:3000"}) == 200
    assert status("websocket", "", "/graphql", {**HERE, "origin": "http://evil.example"}) == 403
