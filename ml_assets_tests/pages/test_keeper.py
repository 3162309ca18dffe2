"""A page shows what is read, and waits neither for many pipelines nor for another thread that reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.lakes import Story, write
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.pages import keeper
from ml_assets.pages.keeper import Keeper
from ml_assets.tables import decisions
from ml_assets.tables.decisions import Decision


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "pyproject.toml").touch()
    made = Paths(tmp_path, tmp_path / "data")
    with Lake.of(made) as lake:
        for name in ("loans", "sales"):
            write(lake, Story(name, batches=1))
    return made


def test_many_pipelines_are_left_to_who_catches_up(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FEW", 1)
    kept = Keeper(paths)
    assert (kept.home(1).unread, kept.home(1).overviews) == (["loans", "sales"], [])
    assert kept.catch_up(0) is False, "there is another one to read"
    assert [one.pipeline for one in kept.home(0).overviews] == ["loans", "sales"], "one is few enough for a page"
    assert kept.catch_up(60) is True
    with Lake.of(paths) as lake:
        made = Decision("1.0.1", "kept", "the same model", [], "1.0.1", "sensor")
        decisions.record(lake, "sales", made, Commit("sales/champion", "r"))
    with kept._lock:  # another thread reads
        before = kept.home(0.01)
    assert [one.training.word for one in before.overviews if one.training] == ["promoted", "promoted"]
    after = kept.home(1)
    assert (after.unread, after.overviews[1].snapshot > before.overviews[1].snapshot) == ([], True)
    assert any("the same model" in event.text for event in after.overviews[1].events)


def test_without_a_limit_everything_is_read(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FEW", 0)
    assert [one.pipeline for one in Keeper(paths).home().overviews] == ["loans", "sales"]
