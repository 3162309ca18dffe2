"""Problem details (RFC 9457): what every refusal and failure is answered with."""

from __future__ import annotations

import http
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from ml_assets.errors import MLAssetsError
from ml_assets.server.requests import RowRefused, Warned

MEDIA_TYPE = "application/problem+json"
RETRY_S = 1  # after which a client that was turned away may try again
TITLES = {
    "invalid-json": "The body is no JSON",
    "invalid-request": "The body is no request",
    "invalid-row": "A row cannot be scored",
    "too-large": "The body is too large",
    "too-busy": "The server is too busy",
    "too-late": "The prediction took too long",
    "not-ready": "The server is not ready",
    "not-found": "There is no such path, pipeline or version",
    "wrong-method": "The path does not take this method",
    "no-key": "A valid API key is needed",
    "not-allowed": "The key does not allow this",
    "foreign-host": "The Host header does not name this server",
    "foreign-origin": "Pages of other sites may not use this server",
    "no-log": "The pipeline keeps no prediction log",
    "not-logged": "The prediction or outcome could not be logged",
    "not-loaded": "The release could not be loaded",
    "failed": "The server failed",
}


class Problem(Exception):
    """A request that is not answered as it asked.

    Args:
        status: HTTP status.
        kind: One of `TITLES`; the type of the problem, as programs read it.
        detail: This case, in words.
        errors: Where several places are wrong: row, field and detail of each.
        headers: Of the response.
        more: Further members of the document.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.errors, self.more = list(errors), dict(more or {})
        self.headers = dict(headers or {})
        if status in (http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.SERVICE_UNAVAILABLE):
            self.headers.setdefault("Retry-After", str(RETRY_S))

    def response(self) -> Response:
        """The document."""
        document = {
            "type": f"urn:ml_assets:problem:{self.kind}",
            "title": TITLES[self.kind],
            "status": self.status,
            "detail": self.detail,
            **({"errors": self.errors} if self.errors else {}),
            **self.more,
        }
        return Response(msgspec.json.encode(document), self.status, self.headers, MEDIA_TYPE)


PLACE = re.compile(
    r"(?P<what>.*?)(?: - at `\$(?:\.(?P<part>rows|keys|outcomes)\[(?P<row>\d+)\])?\.?(?P<rest>.*)`)?", re.DOTALL
)
NAMED = re.compile(r"Object (?:contains unknown|missing required) field `(?P<field>.*)`", re.DOTALL)


def invalid(error: msgspec.ValidationError) -> Problem:
    """The body is JSON, but not a request: its text names row and field."""
    text = str(error)
    found = PLACE.fullmatch(text)
    named = NAMED.fullmatch(found["what"]) if found else None
    place = {
        "row": int(found["row"]) if found and found["row"] else None,
        "field": (named["field"] if named else None) or (found and found["rest"]) or None,
        "detail": found["what"] if found else text,
    }
    return Problem(422, "invalid-request", text, [{name: one for name, one in place.items() if one is not None}])


def refused(error: RowRefused) -> Problem:
    """A row has values with which it cannot be scored."""
    place = {"row": error.row, "field": error.field, "detail": error.why}
    return Problem(422, "invalid-row", str(error), [{name: one for name, one in place.items() if one is not None}])


def broken(warnings: Sequence[Warned]) -> Problem:
    """Values break a constraint, and the pipeline refuses those."""
    errors = [{"row": one.row, "field": one.field, "detail": f"breaks {one.rule}"} for one in warnings]
    first = errors[0]
    return Problem(422, "invalid-row", f"$.rows[{first['row']}].{first['field']} {first['detail']}", errors)


def of(error: Exception) -> Problem:
    """Any exception as a problem."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RowRefused):
        return refused(error)
    if isinstance(error, msgspec.ValidationError):
        return invalid(error)
    if isinstance(error, msgspec.DecodeError):
        return Problem(400, "invalid-json", f"The body is no JSON: {error}")
    return Problem(
        500, "failed", str(error) if isinstance(error, MLAssetsError) else f"{type(error).__name__}: {error}"
    )
