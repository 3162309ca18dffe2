"""The routes, and what is the same for all of them: keys, problems, counting."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ml_assets.server import docs_page, openapi, page, problems
from ml_assets.server.bodies import Bodies
from ml_assets.server.counting import Counting
from ml_assets.server.describe import describe
from ml_assets.server.keeping import FeedbackRequest
from ml_assets.server.keys import Keys
from ml_assets.server.problems import Problem
from ml_assets.server.prometheus import Metrics, shared
from ml_assets.server.registry import Registry, new_id

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
log = logging.getLogger("ml_assets.server")
Handler = Callable[[Request], Awaitable[Response]]


def app(registry: Registry, keys: Keys | None = None, counting: Counting | None = None) -> Starlette:
    """The application over what the registry holds at the time of each request.

    Args:
        registry: The pipelines.
        keys: Who may ask for what; by default everybody for everything.
        counting: Counts requests; by default in memory of its own.
    """
    routes = Routes(registry, Keys() if keys is None else keys, counting or Counting(Metrics(shared(1))))
    return Starlette(routes=routes.all(), exception_handlers={404: _no_route, 405: _no_route})


class Routes:
    """The handlers of all routes."""

    def __init__(self, registry: Registry, keys: Keys, counting: Counting) -> None:
        self._registry, self._keys, self._counting = registry, keys, counting
        self._bodies = Bodies()

    def all(self) -> list[Route]:
        """Every route; those without a scope need no key."""
        return [
            self._route("/v1/{name}/predict", self.predict, "POST", "predict"),
            self._route("/v1/{name}/versions/{version}/predict", self.predict, "POST", "predict"),
            self._route("/v1/{name}/feedback", self.feedback, "POST", "feedback"),
            self._route("/v1/{name}/reload", self.reload, "POST", "admin"),
            self._route("/v1/{name}", self.pipeline, "GET", "predict"),
            self._route("/v1", self.pipelines, "GET", "predict"),
            self._route("/metrics", self.metrics, "GET", None),
            self._open("/health/live", self.live),
            self._open("/health/ready", self.ready),
            self._open("/openapi.json", self.openapi),
            self._open("/docs", self.docs),
            *page.routes(),
        ]

    def _route(self, path: str, handler: Handler, method: str, scope: str | None) -> Route:
        name = path.rpartition("/")[2] if "{version}" not in path else "version"
        name = "pipeline" if name == "{name}" else name

        async def answer(request: Request) -> Response:
            started = time.perf_counter()
            try:
                self._keys.check_host(request.headers.get("host"))
                _check_origin(request)
                self._keys.check(request.headers.get("authorization"), scope)
                response = await handler(request)
            except Problem as problem:
                response = problem.response()
            except msgspec.DecodeError as error:
                response = problems.of(error).response()
            except ClientDisconnect:
                response = Response(status_code=400)  # to nobody
            except Exception as error:  # of the features function, for example: the process goes on
                log.exception("a request failed")
                response = problems.of(error).response()
            pipeline = request.path_params.get("name", "")
            pipeline = pipeline if pipeline in self._registry.pipelines else ""
            self._counting.request(pipeline, name, response.status_code, time.perf_counter() - started)
            return response

        return Route(path, answer, methods=[method])

    def _open(self, path: str, handler: Handler) -> Route:
        """A route that needs no key, and is not counted."""

        async def answer(request: Request) -> Response:
            try:
                self._keys.check_host(request.headers.get("host"))
            except Problem as problem:
                return problem.response()
            return await handler(request)

        return Route(path, answer)

    async def predict(self, request: Request) -> Response:
        """Score rows."""
        pipeline = self._registry.need(request.path_params["name"])
        body = await self._bodies.read(request)
        response = await pipeline.predict(body, request.path_params.get("version"), _explained(request))
        return Response(msgspec.json.encode(response), media_type="application/json")

    async def feedback(self, request: Request) -> Response:
        """Keep outcomes of rows that were scored."""
        pipeline = self._registry.need(request.path_params["name"])
        body = await self._bodies.read(request)
        if pipeline.keeper is None:
            raise Problem(
                409, "no-log", f"{pipeline.name} has no prediction log (serving.log), so that no outcome fits it."
            )
        found = msgspec.json.decode(body, type=FeedbackRequest)
        request_id = new_id()
        await asyncio.to_thread(pipeline.keeper.feedback, found.outcomes, request_id)
        return JSONResponse({"id": request_id, "pipeline": pipeline.name, "outcomes": len(found.outcomes)})

    async def pipelines(self, _: Request) -> Response:
        """Names of the pipelines, and the versions that answer."""
        return JSONResponse({"pipelines": self._ready_versions()})

    async def pipeline(self, request: Request) -> Response:
        """Versions, routes, schema and lookups of a pipeline."""
        return Response(
            msgspec.json.encode(describe(self._registry.need(request.path_params["name"]))),
            media_type="application/json",
        )

    async def reload(self, request: Request) -> Response:
        """Look for the pipeline's versions at once."""
        pipeline = self._registry.need(request.path_params["name"])
        error = None
        if pipeline.reload is not None:
            try:
                await pipeline.reload()
            except Exception as failed:  # whatever is wrong with the new release, the old one goes on
                log.error("a release of %s was not loaded: %s", pipeline.name, failed)
                error = str(failed)
        answers = pipeline.versions and pipeline.versions.champion.facts.version
        found = {"pipeline": pipeline.name, "version": answers, "pinned": pipeline.reload is None}
        if error is not None:
            raise Problem(503, "not-loaded", error, more=found)
        return JSONResponse(found)

    async def live(self, _: Request) -> Response:
        """The process answers."""
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        """Are all pipelines loaded, and in which versions?"""
        found = {"ready": self._registry.is_ready, "pipelines": self._ready_versions()}
        found |= {"refused": dict(self._registry.refused)} if self._registry.refused else {}
        return JSONResponse(found, 200 if self._registry.is_ready else 503)

    def _ready_versions(self) -> dict[str, dict[str, str] | None]:
        return {
            name: {role: scorer.facts.version for role, scorer in one.versions.roles.items()} if one.versions else None
            for name, one in self._registry.pipelines.items()
        }

    async def metrics(self, _: Request) -> Response:
        """Counters for Prometheus."""
        return Response(self._counting.text(self._registry), media_type="text/plain; version=0.0.4")

    async def openapi(self, _: Request) -> Response:
        """The API as an OpenAPI document."""
        return JSONResponse(self._document())

    async def docs(self, _: Request) -> Response:
        """The same for people."""
        return HTMLResponse(docs_page.page(self._document()), headers=PAGE_HEADERS)

    def _document(self) -> dict[str, Any]:
        return openapi.document(self._registry, with_keys=bool(self._keys))


def _explained(request: Request) -> int:
    """`?explain=3`: how many features of each row are said to move its score."""
    text = request.query_params.get("explain", "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 4):
        found = f"explain is a number of features from 0 to 999, not {text[:20]!r}"
        raise Problem(422, "invalid-request", found, [{"field": "explain", "detail": found}])
    return int(text)


def _check_origin(request: Request) -> None:
    """Refuse what another site's page lets a browser send: without keys, being on this machine is all it takes.

    Raises:
        Problem: It comes from another site.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Problem(403, "foreign-origin", f"The request comes from a page of {origin[:100]}.")


async def _no_route(request: Request, error: Exception) -> Response:
    """A path or method that is not there, in the form of every problem."""
    headers = dict(getattr(error, "headers", None) or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
        detail = f"{request.url.path[:100]} takes {headers['Allow']}, not {request.method[:20]}. /docs names all."
        return Problem(405, "wrong-method", detail, headers=headers).response()
    return Problem(404, "not-found", "There is no such path. /docs names all.").response()
