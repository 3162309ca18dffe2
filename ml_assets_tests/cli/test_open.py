"""`ml-assets open`: which address, or which file where nothing is served."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ml_assets.cli import main
from ml_assets.pages.serving import announced
from ml_assets_tests.conftest import Project

BASE = "https://loop.example.org"


@pytest.fixture
def opened(trained: Project, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the browser was told to open."""
    found: list[str] = []
    monkeypatch.chdir(trained.root)
    monkeypatch.setattr(webbrowser, "open", found.append)
    return found


def page(*words: str) -> Result:
    return CliRunner().invoke(main, ["open", *words])


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ([], "/"),
        (["timeline"], "/timeline"),
        (["loans"], "/pipelines/loans"),
        (["loans", "1.0.0"], "/pipelines/loans/versions/1.0.0"),
        (["loans", "1.0.0", "1.0.0"], "/pipelines/loans/compare?a=1.0.0&b=1.0.0"),
        (["loans", "5"], "/pipelines/loans/batches/5"),
        (["loans", "alerts"], "/pipelines/loans/alerts"),
    ],
)
def test_pages_that_are_served(
    opened: list[str], monkeypatch: pytest.MonkeyPatch, words: list[str], address: str
) -> None:
    monkeypatch.setenv("ML_ASSETS_PAGES_URL", BASE)
    assert page(*words, "--print").output == f"{BASE}{address}\n"
    assert opened == []
    assert page(*words).exit_code == 0
    assert opened == [f"{BASE}{address}"]


def test_a_server_of_this_project_is_found(
    opened: list[str], copied: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied.root)
    with announced(tmp_path, "127.0.0.1", 3001):  # the pages of another project
        assert "No page is served" in page("loans").output
    with announced(copied.paths.data, "127.0.0.1", 4711):
        assert page("loans").output == "http://127.0.0.1:4711/pipelines/loans\n"
    assert opened == ["http://127.0.0.1:4711/pipelines/loans"]


def test_without_a_server_reports_are_opened_as_files(opened: list[str], trained: Project) -> None:
    reports = trained.paths.reports / "loans"
    assert page("loans", "1.0.0").exit_code == 0
    assert page("loans", "5").exit_code == 0
    assert opened == [(reports / name).as_uri() for name in ("evaluation/1.0.0.html", "drift/5.html")]
    nothing = page("loans")
    assert (nothing.exit_code, "Start `ml-assets ui`" in nothing.output) == (1, True)


def test_what_there_is_no_page_of(opened: list[str]) -> None:
    assert "did you mean '1.0.0'?" in page("loans", "1.0").output
    assert "did you mean 'loans'?" in page("loan").output
    assert "At most two versions" in page("loans", *["1.0.0"] * 3).output
    assert opened == []
