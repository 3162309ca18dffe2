"""Which requests the servers of `ml-assets ui` take: those that a page or program of this machine makes on purpose.

A browser sends requests of any page that it shows, also to 127.0.0.1, and a foreign name may resolve to that address.
What tells such requests are three headers: Host (the name that was asked for), Origin (the page that asks) and
Sec-Fetch-Site (how far that page is away, as the browser sees it).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LOCAL = ("127.0.0.1", "localhost", "[::1]")
EXECUTING = ("application/json", "application/graphql")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Origins:
    """Where a server may be asked for.

    Args:
        hosts: Host headers.
        origins: Origin headers.
    """

    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, port: int, address: str | None = None) -> Origins:
        """This machine's names at a port and, where a proxy stands in front, the address that people use."""
        hosts = {f"{name}:{port}" for name in LOCAL} | (set(LOCAL) if port == 80 else set())
        origins = {f"http://{host}" for host in hosts}
        found = urlsplit(address or "")
        if found.scheme in ("http", "https") and found.netloc:
            hosts.add(found.netloc.lower())
            origins.add(f"{found.scheme}://{found.netloc.lower()}")
        return cls(frozenset(hosts), frozenset(origins))

    def refusal(self, method: str, headers: Iterable[tuple[str, str]]) -> str | None:
        """Why a request is not taken; None where it is.

        Args:
            method: GET, POST, ...; WEBSOCKET for the opening of one.
            headers: Names in small letters, and values.
        """
        given: dict[str, list[str]] = {}
        for name, value in headers:
            given.setdefault(name, []).append(value.strip().lower())
        hosts, asking = given.get("host", []), given.get("origin", [])
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            return f"The Host header {', '.join(hosts) or '(none)'} is not a name of this server."
        if any(origin not in self.origins for origin in asking):
            return f"A page of {', '.join(asking)} may not ask this server."
        is_foreign = any(site in ("cross-site", "same-site") for site in given.get("sec-fetch-site", []))
        is_link = given.get("sec-fetch-mode") == ["navigate"] and given.get("sec-fetch-dest") == ["document"]
        if is_foreign and not (is_link and method in ("GET", "HEAD")):
            return "A page of another site may not ask this server."
        return None


def graphql_refusal(method: str, headers: Iterable[tuple[str, str]]) -> str | None:
    """Why a request to /graphql is not taken: only a POST of JSON executes, because no foreign page can send one."""
    given = dict(headers)
    if method in ("GET", "HEAD"):  # with text/html Dagster shows its GraphiQL page; else it would execute
        return None if "text/html" in given.get("accept", "") else "GraphQL requests are POST, not GET."
    if not given.get("content-type", "").lower().startswith(EXECUTING):
        return "GraphQL requests are POST of application/json."
    return None


@dataclass(frozen=True)
class Guard:
    """An ASGI app behind the checks."""

    app: App
    origins: Origins

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        method = scope.get("method", "WEBSOCKET")
        why = self.origins.refusal(method, headers)
        if why is None and scope["type"] == "http" and scope["path"].rstrip("/") == "/graphql":
            why = graphql_refusal(method, headers)
        if why is None:
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
        text = f"{why} See docs/reference/running.md.\n".encode()
        kind = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": kind})
        await send({"type": "http.response.body", "body": text})
        return None
