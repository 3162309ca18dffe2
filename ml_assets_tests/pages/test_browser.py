"""Every page in a real browser: for everybody to read, light and dark, on a screen and on a phone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.lakes import Story, write
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.pages import addresses
from ml_assets_tests.browser import needs_browser, opened, problems, running
from ml_assets_tests.conftest import Project
from ml_assets_tests.pages.helpers import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(trained: Project) -> Iterator[Browser]:
    """Started after the training, if that is to come yet: beside Playwright's event loop Dagster cannot end its own."""
    assert trained
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A project with one healthy, one drifted and one pending pipeline."""
    root = tmp_path_factory.mktemp("loop")
    (root / "pyproject.toml").write_text("")
    with Lake(root / "data" / "lake") as lake:
        for story in (Story("churn", 6), Story("credit", 6, drifted=2, rejected=1), Story("flights", 6, waits=True)):
            write(lake, story)
    with serving(Paths(root, root / "data")) as address:
        yield address


@pytest.fixture(scope="module")
def trained_pages(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The pages of a pipeline that was really trained."""
    root = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(trained.root, root)
    with serving(Paths(root, root / "data")) as address:
        yield address


def check(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        assert problems(page) == []


@pytest.mark.parametrize("path", [addresses.HOME, addresses.TIMELINE, addresses.pipeline("credit"), "/nowhere"])
def test_everybody_can_read_what_needs_them(browser: Browser, home: str, path: str) -> None:
    check(browser, home + path)


@pytest.mark.parametrize(
    "path",
    [
        addresses.versions("loans"),
        addresses.version("loans", "1.0.0"),
        addresses.compare("loans", "1.0.0", "1.0.0"),
        addresses.batches("loans"),
        addresses.batch("loans", "3"),
        addresses.quarantine("loans"),
        addresses.decisions("loans"),
        addresses.alerts("loans"),
    ],
)
def test_everybody_can_read_about_a_pipeline(browser: Browser, trained_pages: str, path: str) -> None:
    check(browser, trained_pages + path)


def test_what_cannot_be_read_is_found(browser: Browser, home: str) -> None:
    with opened(browser, home) as page:
        page.evaluate("document.querySelector('h1').style.color = '#ddd'")
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:,>')")
        page.evaluate("document.body.style.width = '2000px'")
        found = " ".join(problems(page))
        assert "color-contrast" in found
        assert "image-alt" in found
        assert "scrolls sideways" in found


def test_no_link_is_broken(browser: Browser, trained_pages: str) -> None:
    todo, seen = [trained_pages + "/"], set[str]()
    with opened(browser, trained_pages) as page:
        while todo:
            address = todo.pop()
            if address in seen:
                continue
            seen.add(address)
            answer = page.request.get(address)
            assert answer.status == 200, address
            if "/reports/" in address:
                continue
            page.goto(address)
            links = page.eval_on_selector_all("a[href]", "all => all.map(one => one.href)")
            todo += [re.sub("#.*", "", link) for link in links if link.startswith(trained_pages)]
    assert len(seen) > 12


def test_a_page_runs_nothing_and_loads_nothing_from_elsewhere() -> None:
    folder = Path(addresses.__file__).with_name("templates")
    for file in folder.iterdir():
        text = file.read_text()
        assert not re.search(r"<script|\bon[a-z]+=|\bstyle=|https?://|@import|\burl\(|\|\s*safe", text), file.name
