"""The README's pictures of the real UI, after `make demo`: `make screenshot`, or `python -m docs.screenshot`.

Dagster's web server runs without its daemon, so that no sensor starts a run. Chromium is driven through its DevTools
protocol: the UI is drawn long after its page is loaded, so each picture waits for a text, and until nothing moves.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
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
from typing import Any, NamedTuple
from urllib.parse import quote

import click
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from ml_assets.store.paths import Paths

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --hide-scrollbars --remote-debugging-port=0 about:blank"
)
PIPELINE, LAST = "flights", "drift_report"  # LAST is the asset that ends the graph and the demo
SECONDS = 90  # to wait for the server, the browser, and each picture
SHARPNESS, COLORS, MARGIN = 2, 256, 12  # pixels for one of the page; colors of a PNG; page pixels around the graph
# The UI's own settings: narrow navigation, a graph that fits a README's column, two lines below each asset's name.
CHOSEN = {"dagster-nav-collapsed": True, "asset-graph-direction": "vertical", "asset-node-facets": ["checks", "status"]}
CHOOSE = "Object.entries({}).forEach(([key, value]) => localStorage.setItem(key, JSON.stringify(value)))"
ASSETS = "{assetNodes {groupName assetKey {path} assetMaterializations(limit: 1) {runId}}}"
GRAPH = """(() => { const all = [...document.querySelectorAll('foreignObject')].map(e => e.getBoundingClientRect());
    const x = Math.min(...all.map(e => e.left)), y = Math.min(...all.map(e => e.top));
    return [x, y, Math.max(...all.map(e => e.right)) - x, Math.max(...all.map(e => e.bottom)) - y]; })()"""


class Shot(NamedTuple):
    """A picture: its name, the page, a text that the page shows when it is ready, the window's size."""

    name: str
    path: str
    text: str
    width: int
    height: int
    only_graph: bool = False


def shots(groups: list[str]) -> list[Shot]:
    """The pictures. The address names the groups of the graph that are expanded."""
    expanded, asset = quote(",".join(f"global@global:{group}" for group in groups)), f"/assets/{PIPELINE}"
    return [
        Shot("graph", f"/asset-groups?expanded={expanded}", LAST, 1900, 2200, only_graph=True),
        Shot("evaluation", f"{asset}/evaluation_report?view=events", "test_roc_auc", 1240, 1090),
        Shot("checks", f"{asset}/{LAST}?view=checks", "failed_batches", 1240, 620),
    ]


def wait_for(what: str, look: Callable[[], Any]) -> Any:
    """The first true answer; until then there may be no connection, no file, or none of the expected content."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
            if found := look():
                return found
        time.sleep(0.5)
    raise click.ClickException(f"No {what} after {SECONDS} s.")


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[None]:
    """Run a program while the block runs."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # noqa: S603
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def ask(port: int, method: str, path: str, body: object = None) -> Any:
    """JSON from a local server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())


def call(page: ClientConnection, method: str, **params: Any) -> dict[str, Any]:
    """A command of the DevTools protocol, and its result."""
    page.send(json.dumps({"id": 1, "method": method, "params": params}))
    while (answer := json.loads(page.recv(SECONDS))).get("id") != 1:
        pass  # an event
    return dict(answer["result"])


def take(page: ClientConnection, shot: Shot, address: str) -> Image.Image:
    """Open a page and take its picture once three in a row, a second apart, are the same."""
    size = {"width": shot.width, "height": shot.height, "deviceScaleFactor": SHARPNESS, "mobile": False}
    call(page, "Emulation.setDeviceMetricsOverride", **size)
    call(page, "Page.navigate", url=address)
    seen: list[str] = []

    def still() -> bool:
        text = call(page, "Runtime.evaluate", expression="document.body.innerText")["result"]["value"]
        box = call(page, "Runtime.evaluate", expression=GRAPH, returnByValue=True)["result"]["value"]
        if shot.text not in text:
            return False
        x, y, width, height = box if shot.only_graph else (MARGIN, MARGIN, shot.width, shot.height)
        edge = 2 * MARGIN if shot.only_graph else 0
        clip = {"x": x - MARGIN, "y": y - MARGIN, "width": width + edge, "height": height + edge, "scale": 1}
        time.sleep(1)
        seen.append(call(page, "Page.captureScreenshot", clip=clip)["data"])
        return len(seen) > 2 and len(set(seen[-3:])) == 1

    wait_for(f"finished page with {shot.text!r} at {address}", still)
    return Image.open(io.BytesIO(base64.b64decode(seen[-1]))).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)


@click.command()
@click.option("--home", type=click.Path(path_type=Path), help="DAGSTER_HOME of a demo; default: data/dagster.")
def main(home: Path | None) -> None:
    """Renew docs/images from a finished demo."""
    home = (home or Paths.of(ROOT).data / "dagster").resolve()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise click.ClickException(f"None of {', '.join(BROWSERS)} is on PATH. Next: install Chromium")
    if not (home / "dagster.yaml").exists():
        raise click.ClickException(f"{home} is no home of Dagster. Next: make demo")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with contextlib.ExitStack() as stack:
        # A folder of its own: started in the project's, the server would take DAGSTER_HOME from .env.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        server = [sys.executable, "-m", "dagster_webserver", "-w", str(ROOT / "workspace.yaml"), "-h", "127.0.0.1"]
        environment = {**os.environ, "DAGSTER_HOME": str(home)}
        stack.enter_context(running([*server, "-p", str(port)], cwd=folder, env=environment))
        nodes = wait_for(
            "answer of Dagster", lambda: ask(port, "POST", "/graphql", {"query": ASSETS})["data"]["assetNodes"]
        )
        ours = {node["assetKey"]["path"][-1]: node for node in nodes if node["assetKey"]["path"][0] == PIPELINE}
        if LAST not in ours or not ours[LAST]["assetMaterializations"]:
            raise click.ClickException(f"{PIPELINE}/{LAST} has no data in {home}. Next: make demo")
        profile = folder / "profile"
        root = (
            ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        )  # Chromium refuses root otherwise
        stack.enter_context(running([program, *root, f"--user-data-dir={profile}", *FLAGS.split()]))
        debug = int(wait_for("answer of Chromium", lambda: (profile / "DevToolsActivePort").read_text().split()[0]))
        target = next(target for target in ask(debug, "GET", "/json/list") if target["type"] == "page")
        page = stack.enter_context(connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None))
        call(page, "Page.enable")
        call(page, "Page.addScriptToEvaluateOnNewDocument", source=CHOOSE.format(json.dumps(CHOSEN)))
        IMAGES.mkdir(exist_ok=True)
        for shot in shots(sorted({node["groupName"] for node in ours.values()})):
            target = IMAGES / f"{shot.name}.png"
            take(page, shot, f"http://127.0.0.1:{port}{shot.path}").save(target, optimize=True)
            click.echo(f"{target.relative_to(ROOT)}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
