"""The routes: /predict, /health, /schema, /openapi.json, /reload."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ml_assets.errors import MLAssetsError
from ml_assets.server.requests import PredictResponse, RowRefused
from ml_assets.server.scorer import Scorer

MAX_BYTES = 8 * 2**20
MAX_HELD = 8 * MAX_BYTES  # of all bodies that are arriving at a time
TOO_LARGE = f"The body is larger than {MAX_BYTES:,} bytes; send fewer rows."
TOO_MANY = "Too many requests are arriving; try again."
log = logging.getLogger("ml_assets.server")


@dataclass
class Serving:
    """What answers now. Assigning another scorer swaps the release; requests are answered one after the other.

    Args:
        scorer: The release.
        reload: Looks for the champion at once; None where one release is served for good.
    """

    scorer: Scorer
    reload: Callable[[], Awaitable[None]] | None = None


class Bodies:
    """The bodies that are arriving. They are bounded one by one and together, since each is held until it is whole."""

    def __init__(self) -> None:
        self._held = 0

    async def read(self, request: Request) -> bytearray:
        """The body of a request.

        Raises:
            BodyRefused: It is too large, or too much is arriving.
            ClientDisconnect: The client is gone.
        """
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > MAX_BYTES:
            raise BodyRefused(413, TOO_LARGE)
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                self._held += len(chunk)
                if len(body) > MAX_BYTES:
                    raise BodyRefused(413, TOO_LARGE)
                if self._held > MAX_HELD:
                    raise BodyRefused(503, TOO_MANY)
        finally:
            self._held -= len(body)
        return body


class BodyRefused(Exception):
    """A body that is not taken.

    Args:
        status: Of the response.
        text: Of the response.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def app(serving: Serving, lifespan: Callable[[Starlette], Any] | None = None) -> Starlette:
    """The application over what `serving` holds at the time of each request."""
    bodies = Bodies()

    async def predict(request: Request) -> Response:
        try:
            predicted = serving.scorer.predict(await bodies.read(request))
        except BodyRefused as refused:
            return _error(refused.status, str(refused))
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody
        except (msgspec.ValidationError, RowRefused) as error:
            return _error(422, str(error))
        except msgspec.DecodeError as error:
            return _error(400, f"The body is no JSON: {error}")
        except Exception as error:  # of the features function, for example: the process goes on
            log.exception("a request failed")
            return _error(500, str(error) if isinstance(error, MLAssetsError) else f"{type(error).__name__}: {error}")
        return Response(msgspec.json.encode(predicted), media_type="application/json")

    async def health(_: Request) -> Response:
        facts = serving.scorer.facts
        return JSONResponse({"ready": True, "pipeline": facts.pipeline, "version": facts.version})

    async def reload(_: Request) -> Response:
        found: dict[str, Any] = {}
        status = 200
        if serving.reload is not None:
            try:
                await serving.reload()
            except Exception as error:  # whatever is wrong with the new release, the old one goes on
                log.error("the champion's release was not loaded: %s", error)
                status, found["error"] = 503, str(error)
        facts = serving.scorer.facts
        found |= {"pipeline": facts.pipeline, "version": facts.version, "fixed": serving.reload is None}
        return JSONResponse(found, status_code=status)

    async def schema(_: Request) -> Response:
        return JSONResponse(serving.scorer.json_schema())

    async def openapi(_: Request) -> Response:
        return JSONResponse(_openapi(serving.scorer))

    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/health", health),
        Route("/reload", reload, methods=["POST"]),
        Route("/schema", schema),
        Route("/openapi.json", openapi),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status_code=status)


def _openapi(scorer: Scorer) -> dict[str, Any]:
    (request, response), components = msgspec.json.schema_components(
        [scorer.request, PredictResponse], ref_template="#/components/schemas/{name}"
    )

    def of(schema: Any) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    text = {"type": "object", "properties": {"error": {"type": "string"}}}
    refused = {
        "400": "no JSON",
        "413": "too large",
        "422": "names the row and field",
        "500": "not answered",
        "503": "too busy",
    }
    responses: dict[str, Any] = {
        "200": {"description": "Scores and decisions in the order of the rows.", **of(response)}
    }
    responses |= {status: {"description": why, **of(text)} for status, why in refused.items()}
    predict = {"summary": "Score rows", "requestBody": {"required": True, **of(request)}, "responses": responses}
    return {
        "openapi": "3.1.0",
        "info": {"title": scorer.facts.pipeline, "version": scorer.facts.version},
        "paths": {"/predict": {"post": predict}},
        "components": {"schemas": components},
    }
