"""The documentation as a site: it loads nothing from elsewhere, and can be searched when it is opened from a file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    loaded = r"<(?:script|img|iframe)[^>]* src=\"?(https?:[^\s\">]+)|<link[^>]* href=\"?(https?:[^\s\">]+)"
    assert [found for page in pages for found in re.findall(loaded, page.read_text())] == []


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium")
def test_it_can_be_searched_from_a_file(site: Path) -> None:
    """Browsers start no workers there: docs/assets/iframe-worker.js."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM))
        page = browser.new_page()
        elsewhere: list[str] = []
        page.on("request", lambda request: elsewhere.append(request.url))
        page.goto((site / "reference/lake.html").as_uri())
        page.locator("input[name=query]").first.click()
        page.keyboard.type("quarantine")
        page.locator(".md-search-result__item").first.wait_for(timeout=20_000)
        browser.close()
    assert [url for url in elsewhere if not url.startswith(("file:", "data:", "blob:"))] == []
