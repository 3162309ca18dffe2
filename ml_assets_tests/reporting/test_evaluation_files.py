"""The report of a version follows its decisions, and no report can fail one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.graph.release.promotion import approvals
from ml_assets.graph.release.promotion.decide import decide
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.reporting import evaluation_files, html
from ml_assets.reporting.evaluation_document import Document
from ml_assets.reporting.evaluation_files import Reports, refresh
from ml_assets.tables import versions
from ml_assets.tables.decisions import newest_of
from ml_assets_tests.graph.release.hand_made import BY, add_version, spec
from ml_assets_tests.graph.release.made import examined, spec_of


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path / "data")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a champion 1.0.0, and of 1.0.1, which waits for approval; both have reports."""
    root = tmp_path_factory.mktemp("decided")
    paths = Paths(root, root / "data")
    document = Document.of(spec_of(), examined(spec_of())).as_json()
    with Lake(paths.lake) as lake:
        for version, approval in (("1.0.0", "auto"), ("1.0.1", "manual")):
            add_version(lake, paths, version, gain=None if version == "1.0.0" else 0.01)
            with paths.artifacts.reports.put(Reports.of("loans", version).document) as file:
                file.write_text(document)
            decide(lake, spec(approval=approval), versions.need_version(lake, "loans", version), BY)
        refresh(lake, paths, "loans", ["1.0.0", "1.0.1"])
    return paths.data


@pytest.fixture
def store(made: Path, paths: Paths) -> Iterator[Lake]:
    shutil.copytree(made, paths.data)
    with Lake(paths.lake) as lake:
        yield lake


def page(paths: Paths, version: str) -> str:
    return (paths.reports / Reports.of("loans", version).evaluation).read_text()


def word(paths: Paths, version: str) -> str:
    (found,) = re.findall(r'<h2 id="decision">(.*?)</h2>', page(paths, version))
    return str(found)


def test_pages_follow_every_decision(store: Lake, paths: Paths) -> None:
    assert [word(paths, version) for version in ("1.0.0", "1.0.1")] == ["Promoted", "Waits for approval"]
    waiting = page(paths, "1.0.1")
    assert "ml-assets approve loans 1.0.1" in waiting
    assert "schedule loans_retrain_cron" in waiting  # who decided that it waits
    assert "sensor loans_retrain" in waiting  # who asked for the training
    for told in (
        "300 rows of 3 batches, 1 to 3",
        "100 rows of batch 4",
        "training set pin-1.0.1, snapshot 1",
        "abc123",
    ):
        assert told in waiting
    assert re.search(r"<dt>Champion before</dt><dd>version 1.0.0</dd>", waiting)
    approvals.approve(store, paths, "loans", "1.0.1", "looked at the <slices>", "ana")
    assert [word(paths, version) for version in ("1.0.0", "1.0.1")] == ["Not the champion any more", "Promoted"]
    assert "Why: looked at the &lt;slices&gt;" in page(paths, "1.0.1")
    assert "by ana" in page(paths, "1.0.1")
    assert "ROC curve" in page(paths, "1.0.1")  # all else is there again
    approvals.rollback(store, paths, "loans", "it was not", by="ben")
    assert [word(paths, version) for version in ("1.0.0", "1.0.1")] == ["Champion again", "Not the champion any more"]
    card = (paths.reports / Reports.of("loans", "1.0.0").card).read_text()
    assert "**Champion again: Version 1.0.0 is the champion" in card
    shown = (paths.reports / Reports.of("loans", "1.0.0").card_page).read_text()
    assert "<h2>Intended use</h2>" in shown
    assert "<table>" in shown


def test_a_rejection_is_on_the_page(store: Lake, paths: Paths) -> None:
    approvals.reject(store, paths, "loans", "1.0.1", "odd at night", "ana")
    assert word(paths, "1.0.1") == "Rejected"
    assert "odd at night" in page(paths, "1.0.1")


def test_a_report_that_cannot_be_rendered_fails_no_decision_and_says_the_new_one(
    store: Lake, paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> str:
        raise KeyError("roc")

    monkeypatch.setattr(evaluation_files, "report", broken)
    made = approvals.approve(store, paths, "loans", "1.0.1", "looked at it", "ana")
    assert newest_of(store, "loans", "1.0.1") == made
    assert word(paths, "1.0.1") == "Promoted"
    assert "The rest of the report could not be rendered: KeyError" in page(paths, "1.0.1")
    assert "The report of loans 1.0.1 was not rendered" in caplog.text


def test_a_disk_without_room_fails_no_decision(
    store: Lake, paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(html, "write", full)
    approvals.approve(store, paths, "loans", "1.0.1", "looked at it", "ana")
    assert versions.need_alias(store, "loans", "champion").version == "1.0.1"
    assert "is not up to date" in caplog.text


def test_an_evaluation_without_a_document_says_what_the_lake_knows(store: Lake, paths: Paths) -> None:
    (paths.reports / Reports.of("loans", "1.0.1").document).write_text('{"format": 0}')
    (paths.reports / Reports.of("loans", "1.0.1").evaluation).write_text("<h1>as it was then</h1>")
    for _ in range(2):
        refresh(store, paths, "loans", ["1.0.1", None])
    assert (paths.reports / "loans/evaluation/1.0.1.earlier.html").read_text() == "<h1>as it was then</h1>"
    assert 'href="1.0.1.earlier.html"' in page(paths, "1.0.1")
    shown = page(paths, "1.0.1")
    assert word(paths, "1.0.1") == "Waits for approval"
    assert "made by an earlier ml_assets" in shown
    assert "<td>roc_auc</td><td>0.8</td><td>0.75 to 0.85</td>" in shown
