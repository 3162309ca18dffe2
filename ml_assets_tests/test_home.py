"""Dagster's home: ours is brought up to date, a person's stays, and a copied project has its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ml_assets import home
from ml_assets.errors import SpecError
from ml_assets.home import check_home, home_of, prepare_home
from ml_assets.lake.paths import Paths

PYPROJECT = '[tool.dagster]\nmodule_name = "parcels.definitions"\n'


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    (tmp_path / "first").mkdir()
    (tmp_path / "first/pyproject.toml").write_text(PYPROJECT)
    return Paths.of(tmp_path / "first")


def test_a_copied_project_gets_a_home_of_its_own(paths: Paths) -> None:
    first = prepare_home(paths)
    (paths.root / ".env").write_text(f"# of this project\nDAGSTER_HOME={first}\nSLACK=secret\n")
    copy = Paths.of(Path(shutil.copytree(paths.root, paths.root.parent / "second")))
    with pytest.raises(SpecError, match="another copy of this project"):
        check_home(home_of(copy), copy.root)
    said: list[str] = []
    assert prepare_home(copy, said.append) == copy.root / "data/dagster" == home_of(copy)
    assert "another project" in said[0]
    assert (copy.root / ".env").read_text() == f"# of this project\nDAGSTER_HOME={home_of(copy)}\nSLACK=secret\n"
    check_home(home_of(copy), copy.root)
    assert prepare_home(paths, said.append) == first


def test_a_moved_project_takes_its_home_along(paths: Paths) -> None:
    prepare_home(paths)
    moved = Paths.of(paths.root.rename(paths.root.parent / "moved"))
    assert prepare_home(moved, str) == moved.root / "data/dagster"


def test_a_home_outside_of_projects_may_be_shared(paths: Paths, tmp_path: Path) -> None:
    shared = tmp_path / "shared/data/dagster"
    shared.mkdir(parents=True)
    (paths.root / ".env").write_text(f'DAGSTER_HOME="{shared}"\n')
    assert prepare_home(paths) == shared
    check_home(shared, paths.root)


def test_settings_of_an_earlier_version_are_renewed_and_edited_ones_stay(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = prepare_home(paths) / "dagster.yaml"
    today = file.read_text()
    assert "LockingRunLauncher" in today
    file.write_text("telemetry: {enabled: false}\n")
    said: list[str] = []
    prepare_home(paths, said.append)
    assert file.read_text() == "telemetry: {enabled: false}\n"
    assert len(said) == 1
    assert "is your own" in said[0]
    monkeypatch.setattr(home, "EARLIER", {home._digest(file)})
    prepare_home(paths, said.append)
    assert file.read_text() == today
    assert len(said) == 1
