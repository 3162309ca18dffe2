"""The routes: /predict, /health, /schema, /openapi.json, /reload."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ml_assets.errors import MLAssetsError
from ml_assets.server.requests import Answer, RowRefused
from ml_assets.server.scorer import Scorer

MAX_BYTES = 8 * 2**20
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


class TooLarge(Exception):
    """A body that is larger than any request needs."""


def app(serving: Serving, lifespan: Callable[[Starlette], Any] | None = None) -> Starlette:
    """The application over what `serving` holds at the time of each request."""

    async def predict(request: Request) -> Response:
        try:
            body = await _body(request)
            answer = serving.scorer.answer(body)
        except TooLarge:
            return _error(413, f"The body is larger than {MAX_BYTES:,} bytes; send fewer rows.")
        except (msgspec.ValidationError, RowRefused) as error:
            return _error(422, str(error))
        except msgspec.DecodeError as error:
            return _error(400, f"The body is no JSON: {error}")
        except Exception as error:  # of the features function, for example: the process goes on
            log.exception("a request failed")
            return _error(500, str(error) if isinstance(error, MLAssetsError) else f"{type(error).__name__}: {error}")
        return Response(msgspec.json.encode(answer), media_type="application/json")

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


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BYTES:
            raise TooLarge
        chunks.append(chunk)
    return b"".join(chunks)


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status_code=status)


def _openapi(scorer: Scorer) -> dict[str, Any]:
    (request, answer), components = msgspec.json.schema_components(
        [scorer.request, Answer], ref_template="#/components/schemas/{name}"
    )

    def of(schema: Any) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    text = {"type": "object", "properties": {"error": {"type": "string"}}}
    refused = {"400": "no JSON", "413": "too large", "422": "not a request; names the field", "500": "not answered"}
    answers: dict[str, Any] = {"200": {"description": "Scores and decisions in the order of the rows.", **of(answer)}}
    answers |= {status: {"description": why, **of(text)} for status, why in refused.items()}
    predict = {"summary": "Score rows", "requestBody": {"required": True, **of(request)}, "responses": answers}
    return {
        "openapi": "3.1.0",
        "info": {"title": scorer.facts.pipeline, "version": scorer.facts.version},
        "paths": {"/predict": {"post": predict}},
        "components": {"schemas": components},
    }
