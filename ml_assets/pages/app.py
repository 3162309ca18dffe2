"""The pages as a web server: requests in, pages out; and the one thing that people can do here, decide on a version.

No page runs a script or loads anything from elsewhere. Reports hold data of other people: each is an origin of its
own, without cookies or storage, and may show itself and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from ml_assets.errors import LakeBusy, LakeError, MLAssetsError
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.pages import addresses
from ml_assets.pages.render import POLICY, STYLE, style
from ml_assets.pages.views import Views
from ml_assets.server.keys import Keys
from ml_assets.server.problems import Problem
from ml_assets.tables import formats

HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with `no-referrer`, browsers send a form of ours with the origin `null`
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
OF_REPORTS = {
    **HEADERS,
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'unsafe-inline'",  # Evidently's and Plotly's, inside the page
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "font-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "sandbox allow-scripts allow-popups allow-downloads",  # an origin of its own, without cookies or storage
        )
    ),
    "Referrer-Policy": "no-referrer",
}
REPORT_TYPES = {".html": "text/html", ".json": "application/json", ".md": "text/plain", ".png": "image/png"}
BUDGET_S = 0.1  # of reading pipelines anew, before a page is shown with those that are read
SLICE_S = 1.0  # of reading, between which pages see what is read by then
CHECK_S = 2.0
MOST_FORM = 20_000  # bytes
WRONG_KEY_S = 1.0
log = logging.getLogger("ml_assets.pages")


def make(paths: Paths, keys: Keys, watch: bool = True) -> Starlette:
    """The app.

    Args:
        paths: Folders of the project.
        keys: Who may decide: keys with the scope `approve`.
        watch: Read what has changed as soon as it has, so that no request need wait for it.
    """
    views = Views(paths)
    served = _Served(views, keys)
    one = "/pipelines/{name}"
    routes = [
        Route(addresses.HOME, served.page(lambda _: views.home(views.keeper.home(BUDGET_S)))),
        Route(addresses.TIMELINE, served.page(lambda _: views.timeline(views.keeper.home(BUDGET_S)))),
        Route(one, served.page(lambda r: views.pipeline(views.keeper.home(BUDGET_S), _name(r)))),
        Route(one + "/versions", served.of_lake(lambda r, lake: views.versions(lake, _name(r)))),
        Route(one + "/versions/{version}", served.of_lake(served.version)),
        Route(one + "/versions/{version}", served.decide, methods=["POST"]),
        Route(one + "/compare", served.of_lake(lambda r, lake: views.compare(lake, _name(r), *_both(r)))),
        Route(one + "/batches", served.of_lake(lambda r, lake: views.batches(lake, _name(r), _query(r, "before")))),
        Route(
            one + "/batches/{batch}",
            served.of_lake(lambda r, lake: views.batch(lake, _name(r), r.path_params["batch"])),
        ),
        Route(
            one + "/quarantine", served.of_lake(lambda r, lake: views.quarantine(lake, _name(r), _query(r, "batch")))
        ),
        Route(one + "/decisions", served.of_lake(lambda r, lake: views.decisions(lake, _name(r)))),
        Route(one + "/alerts", served.of_lake(lambda r, lake: views.alerts(lake, _name(r)))),
        Route("/reports/{file:path}", served.report),
        Route(STYLE, lambda _: Response(style(), media_type="text/css", headers=HEADERS)),
    ]
    return Starlette(
        routes=routes,
        lifespan=partial(_watching, views) if watch else None,
        exception_handlers={404: served.missing, 405: served.missing, 500: served.failed},
    )


@contextlib.asynccontextmanager
async def _watching(views: Views, _app: Starlette) -> AsyncIterator[None]:
    """Keep the overviews as new as the lake, in a thread."""
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.is_set():
            try:
                while not views.keeper.catch_up(SLICE_S) and not stopping.is_set():
                    pass
                views.keeper.validate()
            except MLAssetsError as error:  # a page says so, too
                log.debug("The lake cannot be read. %s", error)
            stopping.wait(CHECK_S)

    with contextlib.suppress(MLAssetsError):
        await run_in_threadpool(views.keeper.home, BUDGET_S)  # so that the first page need not open the lake
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield
    stopping.set()


class _Served:
    """What the routes call."""

    def __init__(self, views: Views, keys: Keys) -> None:
        self.views, self.keys = views, keys

    def page(self, make_page: Callable[[Request], str]) -> Callable[[Request], Any]:
        """A page of what is kept in memory."""

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(self._answer, request, make_page)

        return endpoint

    def of_lake(self, make_page: Callable[[Request, Lake], str]) -> Callable[[Request], Any]:
        """A page that reads the lake, in one snapshot."""

        def opened(request: Request) -> str:
            with Lake.of(self.views.paths, read_only=True) as lake, lake.one_snapshot():
                return make_page(request, lake)

        return self.page(opened)

    def version(self, request: Request, lake: Lake, problem: str = "") -> str:
        """A version, with the form where it waits."""
        return self.views.version(lake, _name(request), request.path_params["version"], problem, bool(self.keys))

    async def decide(self, request: Request) -> Response:
        """Approve or reject a version: each decision needs the key, so that no other site can use one."""
        if int(request.headers.get("content-length", MOST_FORM + 1)) > MOST_FORM:
            return await self._refused(
                request, f"The form is larger than {MOST_FORM:,} bytes: shorten the reason.", 413
            )
        body = await request.body()
        form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        try:
            self._check_key(form.get("key", ""))
        except Problem as problem:
            await asyncio.sleep(WRONG_KEY_S)
            return await self._refused(request, problem.detail, problem.status)
        try:
            await run_in_threadpool(self._decide, _name(request), request.path_params["version"], form)
        except MLAssetsError as error:
            return await self._refused(request, str(error), 503 if isinstance(error, LakeBusy) else 409)
        return RedirectResponse(request.path_params["version"], 303, HEADERS)  # the page that the form is on

    def _check_key(self, key: str) -> None:
        if not self.keys:
            raise Problem(403, "not-allowed", "No key is configured. `ml-assets key --scope approve` makes one.")
        if not key.strip():
            raise Problem(401, "no-key", "Enter a key with the scope approve.")
        self.keys.check(f"Bearer {key}", "approve")

    def _decide(self, name: str, version: str, form: dict[str, str]) -> None:
        from ml_assets.graph.release.promotion import approvals

        why, by = form.get("why", ""), form.get("by", "")
        with Lake.of(self.views.paths) as lake:
            formats.check(lake)
            if form.get("word") == "approve":
                approvals.approve(lake, self.views.paths, name, version, why, by)
            else:
                approvals.reject(lake, self.views.paths, name, version, why, by)

    async def _refused(self, request: Request, why: str, status: int) -> Response:
        """The page again, with what was wrong."""

        def again(request: Request) -> str:
            with Lake.of(self.views.paths, read_only=True) as lake, lake.one_snapshot():
                return self.version(request, lake, why)

        answer = await run_in_threadpool(self._answer, request, again)
        answer.status_code = max(answer.status_code, status)
        return answer

    async def report(self, request: Request) -> Response:
        """A file of the reports folder; nothing else, and no listing."""
        return await run_in_threadpool(self._report, request)

    def _report(self, request: Request) -> Response:
        name = request.path_params["file"]
        store = self.views.paths.artifacts.reports
        parts = name.split("/")
        if not name or any(part in ("", ".", "..") or part.startswith(".") for part in parts) or "\\" in name:
            return self._problem(request, "There is no such report.", 404)
        try:
            file = store.fetch(name).resolve()
            is_report = file.is_file() and file.suffix in REPORT_TYPES
        except MLAssetsError as error:
            return self._problem(request, str(error), 404)
        except (OSError, ValueError):  # no file system takes such a name
            is_report = False
        if not is_report:
            return self._problem(request, "There is no such report.", 404)
        return FileResponse(file, headers=OF_REPORTS, media_type=REPORT_TYPES[file.suffix])

    async def missing(self, request: Request, error: Exception) -> Response:
        """An address that is none of ours, or a method that it does not take."""
        allowed = (getattr(error, "headers", None) or {}).get("Allow")
        if allowed is None:
            return self._problem(request, "There is no such page.", 404)
        allowed = ", ".join(sorted(allowed.split(", ")))
        answer = self._problem(request, f"This page takes {allowed}, not {request.method[:20]}.", 405)
        answer.headers["Allow"] = allowed
        return answer

    async def failed(self, request: Request, error: Exception) -> Response:
        """A bug of ours, whose traceback the server's log has."""
        text = f"The server failed: {type(error).__name__}. Its output has the traceback; please report it."
        return self._problem(request, text, 500)

    def _answer(self, request: Request, make_page: Callable[[Request], str]) -> Response:
        try:
            return HTMLResponse(make_page(request), headers=HEADERS)
        except LakeError as error:
            return self._problem(request, str(error), 503)
        except MLAssetsError as error:
            return self._problem(request, str(error), 404)

    def _problem(self, request: Request, text: str, status: int) -> Response:
        return HTMLResponse(self.views.problem(request.url.path, text), status, HEADERS)


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _query(request: Request, name: str) -> str | None:
    return request.query_params.get(name) or None


def _both(request: Request) -> tuple[str, str]:
    return request.query_params.get("a", ""), request.query_params.get("b", "")
