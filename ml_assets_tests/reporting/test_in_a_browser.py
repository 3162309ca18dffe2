"""Reports in a real browser: readable by everybody, in light and dark, on a phone and on a screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_assets.reporting.evaluation_report import report
from ml_assets.reporting.html import markdown_page
from ml_assets.reporting.model_card import model_card
from ml_assets.tables.decisions import Decision, Gate
from ml_assets.tables.drift import BatchDrift
from ml_assets_tests.browser import needs_browser, opened, problems, running
from ml_assets_tests.graph.release.made import PIN, VERSION, examined, spec_of
from ml_assets_tests.reporting.test_drift_report import column, shown
from ml_assets_tests.reporting.test_evaluation_report import contents

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report of each kind, as files."""
    spec = spec_of(costs={"false_positive": 1, "false_negative": 4})
    evaluation = examined(spec, champion=True)
    gates = [Gate("metrics.roc_auc", "roc_auc >= 0.6", 0.8, True), Gate("champion", "not worse", -0.1, False, "why")]
    made = [Decision("1.0.0", "pending", "waits for a person", gates, "0.9.0", "ana")]
    card = model_card(spec, VERSION, PIN, evaluation.found, evaluation.suspects)
    folder = tmp_path_factory.mktemp("pages")
    for name, text in {
        "evaluation": report(contents(spec, evaluation, made=made), {"model card": "card.html"}),
        "card": markdown_page(card, "Model card", {"evaluation": "evaluation.html"}),
        "drift": shown(BatchDrift([column("a"), column("b", drifted=False, score=0.02)], 0.5, 600, 1000)),
    }.items():
        (folder / f"{name}.html").write_text(text)
    return folder


@needs_browser
@pytest.mark.parametrize("name", ["evaluation", "card", "drift"])
def test_everybody_can_read_it(browser: Browser, pages: Path, name: str) -> None:
    with opened(browser, (pages / f"{name}.html").as_uri()) as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))  # what the page's policy has blocked
        page.reload()
        assert said == []
        assert problems(page) == []


@needs_browser
def test_the_contents_lead_to_the_sections(browser: Browser, pages: Path) -> None:
    with opened(browser, (pages / "evaluation.html").as_uri()) as page:
        page.click("text=Worst rows")
        assert page.evaluate("Math.abs(document.getElementById('worst-rows').getBoundingClientRect().top) < 700")
        assert page.evaluate("scrollY") > 1000
        assert page.inner_text("#decision") == "Waits for approval"
