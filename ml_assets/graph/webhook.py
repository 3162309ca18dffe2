"""One HTTP request to an address that the YAML names, and what can be known of it afterwards.

An address may hold a token, so no text of this module names more of it than scheme and host.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

TIMEOUT_S = 5.0
MOST_BYTES = 64 * 1024
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Reply:
    """What became of a request.

    Args:
        outcome: ok: answered with 2xx. failed: surely not taken. unknown: it went out, and no answer came back.
        detail: The same in words.
        body: The first bytes of the answer.
    """

    outcome: Literal["ok", "failed", "unknown"]
    detail: str
    body: bytes = b""

    @property
    def facts(self) -> dict[str, Any]:
        """The answer's JSON object; empty where it is none."""
        with contextlib.suppress(ValueError):
            found = json.loads(self.body)
            if isinstance(found, dict):
                return found
        return {}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: what was meant for one host is not sent to another."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def ask(
    url: str, payload: Mapping[str, Any] | None = None, timeout_s: float = TIMEOUT_S, *, key: str | None = None
) -> Reply:
    """POST a JSON object, or GET where there is none. Never raises.

    Args:
        url: http:// or https:// address.
        payload: What is sent.
        timeout_s: Seconds to wait for the connection, and again for the answer.
        key: API key of a server of ours.
    """
    if not _is_web(url):
        return Reply("failed", "not an http:// or https:// address")
    data = None if payload is None else json.dumps(payload, default=str).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "ml_assets"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - the scheme was looked at
    handlers: list[Any] = [_NoRedirects]
    if urlsplit(url).hostname in LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as response:
            return Reply("ok", f"answered {response.status}", _body(response))
    except urllib.error.HTTPError as error:
        redirected = "; redirects are not followed" if 300 <= error.code < 400 else ""
        with error:
            return Reply("failed", f"answered {error.code}{redirected}", _body(error))
    except urllib.error.URLError as error:  # while connecting and sending
        broken = isinstance(error.reason, ConnectionResetError | BrokenPipeError)
        return Reply("unknown" if broken else "failed", f"no connection: {error.reason}")
    except http.client.InvalidURL:
        return Reply("failed", "not an address that can be opened")
    except (OSError, http.client.HTTPException) as error:  # while waiting for the answer
        return Reply("unknown", f"sent, and no answer came: {str(error) or type(error).__name__}")


def _body(response: Any) -> bytes:
    with contextlib.suppress(OSError, http.client.HTTPException):  # the status has come; that is what counts
        found: bytes = response.read(MOST_BYTES)
        return found
    return b""


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False
