"""The page for people, in a real browser: what it shows comes from the API, and data never become markup."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from docs.screenshot import BROWSERS, browser, call
from ml_assets.ml import release
from ml_assets.server.page import FILES, HEADERS
from ml_assets_tests.conftest import Project
from ml_assets_tests.server.helpers import ROOT, started

HOSTILE = '<img src=x onerror="window.hacked=1">\''
PROGRAM = next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def folder(trained: Project) -> Path:
    return trained.paths.releases / "loans" / "1.0.0"


def test_the_files_need_no_other_host_and_no_inline_script() -> None:
    texts = {name: (ROOT / "ml_assets" / "server" / "page_files" / name).read_text() for name, _ in FILES.values()}
    for name, text in texts.items():
        text = text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|\burl\(", text), name
    assert not re.search(r"<style|<script>|\bon[a-z]+=|style=", texts["index.html"])
    assert not re.search(r"innerHTML|insertAdjacentHTML|outerHTML|document\.write|eval\(|Function\(", texts["page.js"])
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_a_release_brings_the_page_along(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from ml_assets.server import page; print(page.__file__, len(page.routes()))"]
    environment = {**os.environ, "PYTHONPATH": str(folder / release.SOURCES)}
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert "server.zip" in told
    assert told.endswith(" 3\n")


@pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")
def test_a_person_asks_for_a_prediction(folder: Path, tmp_path: Path) -> None:
    """Takes as long as a browser and a server take to start."""
    command = ["-m", "ml_assets.server", str(folder)]
    with started(tmp_path / "log", command) as server, browser(str(PROGRAM), tmp_path / "profile") as page:

        def run(expression: str) -> Any:
            return call(page, "Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

        def wait(expression: str) -> Any:
            return until(lambda: run(expression), expression)

        call(page, "Page.enable")
        call(
            page,
            "Page.addScriptToEvaluateOnNewDocument",
            source="window.violations = []; document.addEventListener('securitypolicyviolation', "
            "(event) => window.violations.push(event.violatedDirective))",
        )
        call(page, "Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
        call(page, "Page.navigate", url=f"http://127.0.0.1:{server.port}/")
        example = json.loads((folder / release.GOLDEN).read_text())["rows"][0]
        wait("document.querySelector('#curve svg, #curve table') !== null")
        shown = run(
            "Object.fromEntries([...document.querySelectorAll('#fields input')].map((one) => [one.name, one.value]))"
        )
        assert {name: str(value) for name, value in example.items() if value is not None}.items() <= shown.items()
        score = re.search(r"probability of 1: ([\d.e-]+)", run("document.querySelector('#answer').innerText"))
        _, answer = server.ask("/v1/loans/predict?explain=1", {"rows": [example]})
        assert score
        assert float(score[1]) == pytest.approx(answer["scores"][0], rel=1e-4)
        assert run("document.querySelector('#reasons tbody td').innerText") == answer["explanations"][0][0]["feature"]
        assert '\'{"rows":[{' in run("document.querySelector('#curl').innerText")
        # Every field has a label, and nothing is wider than a phone.
        assert run("[...document.querySelectorAll('input, select')].every((one) => one.labels.length === 1)")
        assert run("document.documentElement.scrollWidth") <= 390
        # Data that look like markup are text, everywhere that they are shown.
        run(f"(() => {{ document.querySelector('[name=region]').value = {json.dumps(HOSTILE)} }})()")
        run("document.querySelector('#row').requestSubmit()")
        wait("document.querySelector('#curl').innerText.includes('onerror')")
        assert "'\\''" in run("document.querySelector('#curl').innerText")  # the quote does not end the shell's text
        assert run("[document.images.length, window.hacked ?? 0]") == [0, 0]
        # What the server refuses is shown at the field.
        run("(() => { document.querySelector('[name=signed]').value = 'yesterday' })()")
        run("document.querySelector('#row').requestSubmit()")
        wait("!document.querySelector('#problem').hidden")
        assert "signed" in run("document.querySelector('#problem').innerText")
        assert run("document.querySelector('[name=signed]').getAttribute('aria-invalid')") == "true"
        assert run("window.violations") == []


def until(look: Callable[[], Any], what: str) -> Any:
    """The first true answer within half a minute."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    return pytest.fail(f"it is never true that {what}")
