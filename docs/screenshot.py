"""Pictures of the pages and the real UI, after `make demo` and `make replay`: `make screenshot`, or
`python -m docs.screenshot`; with `--pages` of the home page alone, which needs no demo.

Dagster's web server runs without its daemon, so that no sensor starts a run. Chromium is driven through its DevTools
protocol: the UI is drawn long after its page is loaded, so each picture waits for a text, and until nothing moves.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from websockets.sync.client import ClientConnection, connect

from benchmarks.lakes import Story, write
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths

ROOT = Path(__file__).parents[1]
PIPELINE, LAST = "flights", "drift_report"  # LAST is the asset that ends the graph and the demo
SHOTS = {  # picture: page, a text that it shows when it is ready, width and height of the window
    "graph": ("/asset-groups?expanded={groups}", LAST, 1900, 2200),
    "evaluation": (f"/assets/{PIPELINE}/evaluation_report?view=events", "test_roc_auc", 1240, 1090),
    "report": ("{report}", "Test scores", 860, 1130),
    "replay": ("{replay}", "Score of each batch", 1000, 925),
    "checks": (f"/assets/{PIPELINE}/{LAST}?view=checks", "failed_batches", 1240, 620),
}
HOME = {  # picture: scheme, width, height of the window (0: the whole page)
    "home": ("light", 900, 960),  # shown at 760 pixels in the README: a wider page could not be read there
    "home-dark": ("dark", 1240, 0),
    "home-phone": ("light", 390, 0),
}
STORIES = (Story("churn"), Story("credit", drifted=3, rejected=1), Story("flights", waits=True))
SHARPNESS, SECONDS = 1.5, 90  # pixels of a picture for one of the page; longest wait for a server or a page
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = """--headless --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync
    --disable-component-update --hide-scrollbars --remote-debugging-port=0 about:blank"""
# The UI's own settings: narrow navigation, a graph that fits a README's column, two lines below each asset's name.
CHOSEN = {"dagster-nav-collapsed": True, "asset-graph-direction": "vertical", "asset-node-facets": ["checks", "status"]}
CHOOSE = f"for (const [k, v] of Object.entries({json.dumps(CHOSEN)})) localStorage.setItem(k, JSON.stringify(v))"
ASSETS = "/graphql?query=" + quote("{assetNodes {groupName assetKey {path} assetMaterializations(limit: 1) {runId}}}")
# The text of the page, and the rectangle around the graph with a margin of 12.
LOOK = """(() => { const all = [...document.querySelectorAll('foreignObject')].map(e => e.getBoundingClientRect());
    const edge = (side, sign) => sign * (Math.max(...all.map(e => sign * e[side])) + 12), x = edge('left', -1);
    const y = edge('top', -1), graph = {x, y, width: edge('right', 1) - x, height: edge('bottom', 1) - y, scale: 1};
    return [document.body.innerText, graph]; })()"""


def wait_for(what: str, look: Callable[[], Any]) -> Any:
    """The first true answer; until then there may be no connection, no file, or none of the expected content."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, LookupError, http.client.HTTPException):
            if found := look():
                return found
        time.sleep(0.5)
    raise click.ClickException(f"After {SECONDS} s there is no {what}")


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[None]:
    """Run a program while the block runs."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options) as process:  # noqa: S603
        try:
            yield
        finally:
            process.terminate()


def ask(port: int, path: str) -> Any:
    """JSON from a local server."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())


@contextlib.contextmanager
def browser(program: str, profile: Path) -> Iterator[ClientConnection]:
    """The DevTools connection to the page of a headless Chromium with a new profile."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # else it refuses to run as root
    with running([program, *root, f"--user-data-dir={profile}", *FLAGS.split()]):
        port = wait_for("answer of Chromium", lambda: int((profile / "DevToolsActivePort").read_text().split()[0]))
        page = next(target for target in ask(port, "/json/list") if target["type"] == "page")
        with connect(page["webSocketDebuggerUrl"], max_size=None, proxy=None) as connection:
            yield connection


def call(page: ClientConnection, method: str, **params: Any) -> dict[str, Any]:
    """The result of a command of the DevTools protocol."""
    page.send(json.dumps({"id": 1, "method": method, "params": params}))
    while (answer := json.loads(page.recv(SECONDS))).get("id") != 1:
        pass  # an event
    return dict(answer["result"])


def take(page: ClientConnection, address: str, text: str, only_graph: bool) -> bytes:
    """Open a page; its PNG, once three in a row, a second apart, are the same."""
    call(page, "Page.navigate", url=address)
    seen: list[str] = []

    def still() -> bool:
        shown, box = call(page, "Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]["value"]
        if text in shown:
            seen.append(call(page, "Page.captureScreenshot", **({"clip": box} if only_graph else {}))["data"])
            time.sleep(1)
        return len(seen) > 2 and len(set(seen[-3:])) == 1

    wait_for(f"finished page with {text!r} at {address}", still)
    return base64.b64decode(seen[-1])


def text(port: int) -> str:
    """The home page's HTML."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()


def home_page(folder: Path) -> None:
    """The home page of a project with a healthy, a drifted and a pending pipeline."""
    from playwright.sync_api import sync_playwright

    project = folder / "loop"
    project.mkdir()
    (project / "pyproject.toml").touch()
    with Lake(project / "data" / "lake") as lake:
        for story in STORIES:
            write(lake, story)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    server = [sys.executable, "-m", "ml_assets.pages", "127.0.0.1", str(port)]
    environment = {**os.environ, "ML_ASSETS_UI_URL": "http://127.0.0.1:3000"}
    with running(server, cwd=project, env=environment), sync_playwright() as playwright:
        wait_for("page with all pipelines", lambda: all(f">{story.name}<" in text(port) for story in STORIES))
        chromium = playwright.chromium.launch(executable_path=program, args=root)
        for name, (scheme, width, height) in HOME.items():
            page = chromium.new_page(
                viewport={"width": width, "height": height or 900},
                color_scheme=scheme,  # type: ignore[arg-type]
                device_scale_factor=SHARPNESS,
            )
            page.goto(f"http://127.0.0.1:{port}/")
            picture = page.screenshot(full_page=not height)
            (ROOT / "docs" / "images" / f"{name}.png").write_bytes(picture)
            click.echo(f"docs/images/{name}.png: {len(picture):,} bytes")


@click.command()
@click.option("--pages", is_flag=True, help="The home page alone.")
@click.option("--home", type=click.Path(path_type=Path), help="DAGSTER_HOME of a demo; default: data/dagster.")
def main(pages: bool, home: Path | None) -> None:
    """Renew docs/images from a finished demo."""
    with tempfile.TemporaryDirectory() as folder:
        home_page(Path(folder))
    if pages:
        return
    home = (home or Paths.of(ROOT).data / "dagster").resolve()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise click.ClickException(f"None of {', '.join(BROWSERS)} is on PATH. Next: install Chromium")
    if not (home / "dagster.yaml").exists():
        raise click.ClickException(f"{home} is no home of Dagster. Next: make demo")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = [sys.executable, *f"-m dagster_webserver -h 127.0.0.1 -p {port} -w".split(), str(ROOT / "workspace.yaml")]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as stack:
        # A working directory of its own: in the project's, the server would take DAGSTER_HOME from .env.
        stack.enter_context(running(server, cwd=folder, env={**os.environ, "DAGSTER_HOME": str(home)}))
        nodes = wait_for("asset in Dagster. Next: dg check defs", lambda: ask(port, ASSETS)["data"]["assetNodes"])
        last = [node for node in nodes if node["assetKey"]["path"] == [PIPELINE, LAST]]
        if not last or not last[0]["assetMaterializations"]:
            raise click.ClickException(f"{PIPELINE}/{LAST} has no data in {home}. Next: make demo")
        reports = (home.parent / "reports" / PIPELINE / "evaluation").glob("*[0-9].html")  # no card, none of Evidently
        report = max(reports, key=lambda file: file.stat().st_mtime)
        replay = home.parent / "reports" / PIPELINE / "replay" / "index.html"
        groups = sorted({f"global@global:{node['groupName']}" for node in nodes})
        page = stack.enter_context(browser(program, Path(folder) / "profile"))
        call(page, "Page.enable")
        call(page, "Page.addScriptToEvaluateOnNewDocument", source=CHOOSE)
        for name, (path, text, width, height) in SHOTS.items():
            if name == "replay" and not replay.exists():
                click.echo("docs/images/replay.png is as it was: make replay first")
                continue
            size = {"width": width, "height": height, "deviceScaleFactor": SHARPNESS, "mobile": False}
            call(page, "Emulation.setDeviceMetricsOverride", **size)
            ui = path.format(groups=quote(",".join(groups)), report=report.as_uri(), replay=replay.as_uri())
            address = ui if ui.startswith("file:") else f"http://127.0.0.1:{port}{ui}"
            picture = take(page, address, text, only_graph=name == "graph")
            (ROOT / "docs" / "images" / f"{name}.png").write_bytes(picture)
            click.echo(f"docs/images/{name}.png: {len(picture):,} bytes")


if __name__ == "__main__":
    main()
