"""Paths come from the project, not from the working directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_assets.lake.paths import ENV_DATA, Paths


def test_the_project_is_found_from_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    below = tmp_path / "notebooks" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    paths = Paths.of()
    assert (paths.root, paths.lake) == (tmp_path, tmp_path / "data" / "lake")
    assert paths.resolve("data/x.csv") == tmp_path / "data/x.csv"
    assert paths.resolve("/srv/x.csv") == Path("/srv/x.csv")
    monkeypatch.setenv(ENV_DATA, str(tmp_path / "elsewhere"))
    assert Paths.of().lake == tmp_path / "elsewhere" / "lake"
