"""Pages in a real browser: Chromium, driven by Playwright, and axe, which checks whether everybody can read them.

Tests marked with `needs_browser` are skipped where there is none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, BROWSERS)), None)
PHONE, SCREEN = 390, 1240
SHOWN: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", PHONE), ("dark", SCREEN))
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")


@contextmanager
def running() -> Iterator[Browser]:
    """A browser while the block runs. It takes a second to start: share one among the tests of a module."""
    from playwright.sync_api import sync_playwright

    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # else it refuses to run as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=root)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """A page, light and of a screen's size."""
    page = browser.new_page(viewport={"width": SCREEN, "height": 900}, color_scheme="light")
    try:
        page.goto(address)
        yield page
    finally:
        page.close()


def problems(page: Page) -> list[str]:
    """What keeps people from reading a page: light on a phone, and dark on a screen."""
    found = []
    for scheme, width in SHOWN:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        found += [f"{scheme}, {width} px: {one}" for one in violations(page)]
        if is_wider_than_the_screen(page):
            found.append(f"{scheme}, {width} px: it scrolls sideways")
    return found


def violations(page: Page) -> list[str]:
    """What axe finds wrong with a page, each as the rule and the element that breaks it."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]


def is_wider_than_the_screen(page: Page) -> bool:
    """Does the body scroll sideways?"""
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))
