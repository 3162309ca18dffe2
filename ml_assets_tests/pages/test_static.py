"""The pages as files: written after a run, with links that hold in a folder."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import unquote

import pytest

from benchmarks.lakes import Story, write
from ml_assets import resources
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.pages import static
from ml_assets.tables import decisions
from ml_assets.tables.decisions import Decision


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A pipeline that has drifted; without training sets, so that a version's page says what is missing."""
    (tmp_path / "pyproject.toml").write_text("")
    made = Paths(tmp_path, tmp_path / "data")
    with Lake(made.lake) as lake:
        write(lake, Story("credit", 2, drifted=1))
    return made


def test_every_link_leads_to_a_file(paths: Paths) -> None:
    folder = static.write(paths)
    pages = sorted(folder.rglob("*.html"))
    assert len(pages) == 10
    for page in pages:
        text = page.read_text()
        assert "default-src &#39;none&#39;" in text
        for link in re.findall(r'href="([^"]+)"', text):
            if not link.startswith(("data:", "#")):
                assert (page.parent / unquote(link)).exists(), (page, link)
    assert "drifted" in (folder / "index.html").read_text()
    for name in ("batches", "versions"):
        assert "<code>ml-assets ui</code>" in (folder / f"pipelines/credit/{name}.html").read_text(), "what is not here"
    assert "<form" not in "".join(page.read_text() for page in pages)


def test_a_run_lets_them_be_written_anew(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    resources.write_pages(paths)
    assert not resources._writers  # the suite's environment says that nobody reads them
    monkeypatch.delenv("ML_ASSETS_STATIC_PAGES")
    with Lake(paths.lake) as lake:
        made = Decision("1.1.0", "pending", "wait", [], "1.0.1", "sensor")
        decisions.record(lake, "credit", made, Commit("credit/champion", "r"))
    before = time.monotonic()
    resources.write_pages(paths)
    assert time.monotonic() - before < 0.5  # what a run waits
    (writer,) = resources._writers
    assert writer.wait(60) == 0
    assert "waits for approval" in (paths.data / "pages" / "index.html").read_text()
