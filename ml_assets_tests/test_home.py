"""Dagster's home: ours is brought up to date, a person's stays, and a copied project has its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

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
    monkeypatch.setattr(home, "EARLIER", {home._digest(file.read_text())})
    prepare_home(paths, said.append)
    assert file.read_text() == today
    assert len(said) == 1


def test_records_go_to_the_database_that_the_environment_names(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    file = prepare_home(paths) / "dagster.yaml"
    plain = file.read_text()
    assert "storage" not in yaml.safe_load(plain)
    monkeypatch.setenv("ML_ASSETS_DAGSTER_DATABASE", "postgresql+psycopg2://dagster:secret@db/dagster")
    said: list[str] = []
    for _ in range(2):
        prepare_home(paths, said.append)
    text = file.read_text()
    assert yaml.safe_load(text)["storage"] == {"postgres": {"postgres_url": {"env": "ML_ASSETS_DAGSTER_DATABASE"}}}
    assert text.startswith(plain)
    assert "secret" not in text
    monkeypatch.setattr(home, "EARLIER", {home._digest("of an earlier version\n")})
    file.write_text("of an earlier version\n" + home.STORAGE)
    monkeypatch.delenv("ML_ASSETS_DAGSTER_DATABASE")
    prepare_home(paths, said.append)
    assert file.read_text() == text, "records do not move because a terminal lacks the variable"
    assert said == []


def test_a_database_that_dagster_would_fail_with_is_refused(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_DAGSTER_DATABASE", "postgresql://dagster:secret@db/dagster")
    with pytest.raises(SpecError, match=r"postgresql\+psycopg2://") as refused:
        prepare_home(paths)
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("ML_ASSETS_DAGSTER_DATABASE", "postgresql+psycopg2://db/dagster")
    monkeypatch.setattr(home, "find_spec", lambda _: None)
    with pytest.raises(SpecError, match=r"ml-assets\[postgres\]"):
        prepare_home(paths)


def test_a_persons_own_settings_are_told_of_the_database(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    file = prepare_home(paths) / "dagster.yaml"
    file.write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("ML_ASSETS_DAGSTER_DATABASE", "postgresql+psycopg2://db/dagster")
    said: list[str] = []
    prepare_home(paths, said.append)
    assert file.read_text() == "telemetry: {enabled: false}\n"
    assert home.STORAGE.strip() in said[1]


@pytest.mark.parametrize(
    ("launcher", "missing", "text"),
    [
        (home.ON_RAY, "", None),
        (home.ON_RAY, "aiohttp_cors", r"missing: aiohttp_cors(.|\n)*ml-assets\[ray\]"),
        ("run_launcher: {module: ml_assets.ray_launcher, class: RayRunLauncher}", "", "address of the cluster's jobs"),
        ("run_launcher: {module: dagster_ray, class: RayRunLauncher}", "", "fail the runs of a terminal"),
    ],
)
def test_a_launcher_on_ray_that_cannot_work_is_refused(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, launcher: str, missing: str, text: str | None
) -> None:
    file = prepare_home(paths) / "dagster.yaml"
    lines = [launcher if line.startswith("run_launcher") else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines))
    monkeypatch.setattr(home, "find_spec", lambda name: None if name == missing else object())
    if text is None:
        assert prepare_home(paths, str) == file.parent
        return
    with pytest.raises(SpecError, match=text):
        prepare_home(paths, str)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"DAGSTER_HOME=\xff\xfe\n", ".env is not UTF-8"),
        (b"DAGSTER_HOME=data/dagster\n", "must be an absolute path.\n  found: data/dagster"),
        (b"DAGSTER_HOME=/proc/none\n", "Dagster's home cannot be made."),
    ],
)
def test_a_home_that_cannot_be_is_refused(paths: Paths, line: bytes, rule: str) -> None:
    (paths.root / ".env").write_bytes(line)
    with pytest.raises(SpecError) as caught:
        prepare_home(paths)
    assert rule in str(caught.value)
    assert caught.value.where == {"file": paths.root / ".env"}
