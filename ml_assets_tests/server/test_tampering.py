"""A release that somebody changed, or made to do harm, is refused by name before anything of it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.torture import tampering
from ml_assets_tests.conftest import Project


@pytest.fixture(scope="module")
def folder(trained: Project) -> Path:
    return trained.paths.releases / "loans" / "1.0.0"


def test_every_change_under_the_old_manifest_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    changes = [one for one in tampering.tamperings(folder) if not one.is_forged]
    chosen = changes[::4]  # `make torture` tries all
    texts = {one.name: tampering.refusal(folder, one, tmp_path / str(number)) for number, one in enumerate(chosen)}
    assert {name: text for name, text in texts.items() if text.startswith("NOT HELD")} == {}
    assert len(texts) > 30


@pytest.mark.parametrize("name", [one.name for one in tampering.forgeries()])
def test_a_folder_with_manifests_to_match_opens_nothing(name: str, folder: Path, tmp_path: Path) -> None:
    (one,) = (one for one in tampering.forgeries() if one.name == name)
    text = tampering.refusal(folder, one, tmp_path / "release")
    assert not text.startswith("NOT HELD"), text


def test_who_knows_the_digest_refuses_every_forgery(folder: Path, tmp_path: Path) -> None:
    for number, one in enumerate(list(tampering.forgeries())[::6]):
        text = tampering.refusal(folder, one, tmp_path / str(number), with_digest=True)
        assert "registered" in text or "plain file" in text or "more than" in text, (one.name, text)
