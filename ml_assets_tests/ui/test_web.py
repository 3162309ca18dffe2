"""Links to the pages in Dagster's records, followed on Dagster's server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ml_assets.ui.web import WithPages


def ask(app: WithPages, path: str, host: str = "127.0.0.1:3000", query: str = "") -> tuple[int, str]:
    """Status and Location; Dagster itself answers 200."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", host.encode())],
    }
    asyncio.run(app(scope, None, send))  # type: ignore[arg-type]
    return sent[0]["status"], dict(sent[0]["headers"]).get(b"location", b"").decode()


async def dagster(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize(
    ("path", "host", "query", "to"),
    [
        ("/ml-assets/reports/loans/a%20b.html", "127.0.0.1:3000", "", "http://127.0.0.1:3001/reports/loans/a%20b.html"),
        (
            "/ml-assets/pipelines/p/quarantine",
            "localhost:3000",
            "batch=7",
            "http://localhost:3001/pipelines/p/quarantine?batch=7",
        ),
        ("/ml-assets", "[::1]:3000", "", "http://[::1]:3001/"),
    ],
)
def test_a_link_leads_to_the_pages_of_the_same_host(path: str, host: str, query: str, to: str) -> None:
    assert ask(WithPages(dagster, 3001), path, host, query) == (307, to)


def test_a_link_leads_to_the_address_that_is_set() -> None:
    app = WithPages(dagster, 3001, "https://loop.example.org/pages/")
    assert ask(app, "/ml-assets/timeline") == (307, "https://loop.example.org/pages/timeline")


def test_all_else_is_dagsters() -> None:
    for path in ("/", "/ml-assetsx", "/runs/ml-assets"):
        assert ask(WithPages(dagster, 3001), path)[0] == 200
