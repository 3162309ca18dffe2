"""What the tests stand on: definitions built once, a trained project made once, and writes into it that are seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ml_assets_tests.conftest import Project, files_of, shared


def test_definitions_are_built_once_for_equal_yaml(project: Project) -> None:
    first = project.defs()
    assert project.defs() is first
    project.spec_dict["description"] = "Another text."
    second = project.defs()
    assert second is not first
    project.sql["features.sql"] += " -- another"
    assert project.defs() is not second


def test_a_shared_folder_is_made_once_and_again_where_making_it_failed(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tmp_path_factory, "getbasetemp", lambda: tmp_path)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    made: list[list[str]] = []

    def make(folder: Path) -> None:
        made.append(sorted(file.name for file in folder.iterdir()))
        (folder / "half").touch()
        if len(made) == 1:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        shared(tmp_path_factory, "once", make)
    assert [shared(tmp_path_factory, "once", make) for _ in range(2)] == [tmp_path / "once"] * 2
    assert made == [[], []]


def test_every_write_into_a_folder_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "data" / "a.parquet"
    file.parent.mkdir()
    file.write_text("one")
    before = files_of(tmp_path)
    (tmp_path / "data" / "catalog.sqlite-wal").touch()  # SQLite's own, of any reader
    assert files_of(tmp_path) == before
    os.utime(file, ns=(0, 0))
    assert files_of(tmp_path) != before
    file.unlink()
    assert files_of(tmp_path) == set()
