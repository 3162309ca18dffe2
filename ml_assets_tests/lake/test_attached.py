"""Lakes that stay attached between connections: what is read is never that of another catalog in the same place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ml_assets.lake import attached
from ml_assets.lake.lake import Commit, Lake, Put


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached, "_kept", [])


def write(folder: Path, name: str) -> None:
    with Lake(folder) as lake:
        lake.replace([Put(f"shop.{name}", f"(SELECT '{name}' AS made_for)")], Commit("shop/test"))


def read(folder: Path) -> list[str]:
    with Lake(folder, read_only=True) as lake:
        return [
            lake.fetch(f'SELECT made_for FROM lake."shop"."{name}"')[0][0]
            for name in ("a", "b", "c")
            if lake.exists(f"shop.{name}")
        ]


def test_the_next_connection_has_what_was_attached_and_what_was_written_since(tmp_path: Path) -> None:
    write(tmp_path, "a")
    assert read(tmp_path) == ["a"]
    (reader,) = [one.database for one in attached._kept if one.key[-1]]
    write(tmp_path, "b")
    assert read(tmp_path) == ["a", "b"]
    assert [one.database for one in attached._kept if one.key[-1]] == [reader]


def test_a_backup_in_its_place_that_went_another_way_is_attached_anew(tmp_path: Path) -> None:
    lake, backup = tmp_path / "lake", tmp_path / "backup"
    write(lake, "a")
    shutil.copytree(lake, backup)
    write(lake, "b")
    assert read(lake) == ["a", "b"]
    for file in lake.glob("*.sqlite*"):
        file.unlink()
    shutil.copytree(backup, lake, dirs_exist_ok=True)
    write(lake, "c")  # its snapshot has the number that b's had
    assert read(lake) == ["a", "c"]


def test_one_that_knows_many_snapshots_is_attached_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a")
    monkeypatch.setattr(attached, "MAX_SNAPSHOTS", 0)
    write(tmp_path, "b")
    (kept,) = attached._kept
    assert kept.first < kept.last[0]
    write(tmp_path, "c")
    assert attached._kept[0].first > kept.first


def test_few_are_kept(tmp_path: Path) -> None:
    for number in range(attached.MAX_KEPT + 1):
        write(tmp_path / str(number), "a")
    assert [one.key[1] for one in attached._kept] == [
        tmp_path / str(number) for number in range(1, attached.MAX_KEPT + 1)
    ]


def test_a_lake_that_is_lost_is_not_kept(tmp_path: Path) -> None:
    with Lake(tmp_path / "lake") as lake:
        assert lake.snapshot() >= 0
        shutil.rmtree(tmp_path / "lake")
    assert attached._kept == []
