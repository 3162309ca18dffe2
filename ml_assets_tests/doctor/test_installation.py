"""What is wrong with an installation, with each thing made wrong."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ml_assets.doctor import installation
from ml_assets.doctor.finding import Finding
from ml_assets.lake.paths import Paths


def levels(found: Iterable[Finding]) -> list[str]:
    return [one.level for one in found]


def said(found: Iterable[Finding]) -> str:
    return "\n".join(f"{one.text} -> {one.fix}" for one in found if one.level != "ok")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    (tmp_path / "data" / "dagster").mkdir(parents=True, mode=0o700)
    return Paths(tmp_path, tmp_path / "data")


def test_this_environment_is_well() -> None:
    found = [*installation.python(), *installation.extensions()]
    assert levels(found) == ["ok", "ok"]


def test_another_python_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.platform, "python_version", lambda: "3.9.1")
    (found,) = installation.python()
    assert (found.level, "3.9.1; ml_assets needs " in found.text) == ("problem", True)


def test_libraries_of_other_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    required = [
        "pandas<3,>=2.3",
        "lost>=1",
        "old>=2",
        'half>=1; extra == "s3"',
        'pandas>=1; extra == "s3"',
        'none>=1; extra == "mlflow"',
        'lost; extra == "dev"',
    ]
    monkeypatch.setattr(installation.metadata, "requires", lambda _: required)
    monkeypatch.setattr(installation.metadata, "version", _version({"pandas": "2.3.1", "old": "1.9"}))
    facts: Any = SimpleNamespace(get_all=lambda _: ["s3", "mlflow", "dev"])
    monkeypatch.setattr(installation.metadata, "metadata", lambda _: facts)
    found = list(installation.packages())
    assert levels(found) == ["problem", "problem", "warning"]
    assert said(found).splitlines() == [
        "lost is missing -> pip install --upgrade ml-assets",
        "old is 1.9; >=2 is required -> pip install --upgrade ml-assets",
        "extra s3: half is missing -> pip install 'ml-assets[s3]'",
    ]


def test_an_extension_of_another_duckdb_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        installation.metadata,
        "version",
        _version({"duckdb": "1.5.5", "duckdb-extension-ducklake": "1.5.5", "duckdb-extension-sqlite-scanner": "1.5.4"}),
    )
    found = list(installation.extensions())
    assert levels(found) == ["problem"]
    assert "pip install duckdb-extension-sqlite-scanner==1.5.5" in said(found)


def _version(known: dict[str, str]) -> Any:
    def version(name: str) -> str:
        if name not in known:
            raise metadata.PackageNotFoundError(name)
        return known[name]

    return version


@pytest.mark.parametrize(("free_gib", "level"), [(100, "ok"), (3, "warning"), (0.5, "problem")])
def test_a_full_disk(free_gib: float, level: str, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_gib * 2**30))
    assert set(levels(installation.disk(paths))) == {level}


def test_files_that_others_may_read(paths: Paths) -> None:
    env = paths.root / ".env"
    env.write_text(f"DAGSTER_HOME={paths.data}/dagster\n")
    env.chmod(0o644)
    assert levels(installation.files(paths)) == ["ok"]  # there is no secret in it
    env.write_text(f"DAGSTER_HOME={paths.data}/dagster\nSLACK_WEBHOOK=https://s3cret\n")
    found = list(installation.files(paths))
    assert levels(found) == ["ok", "warning"]
    assert f"chmod go-rwx {env}" in said(found)
    assert "s3cret" not in said(found)
    env.chmod(0o600)
    assert levels(installation.files(paths)) == ["ok"]


def test_a_port_that_another_program_holds() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        number = server.getsockname()[1]
        assert levels(installation.port(number, is_daemon_up=False)) == ["ok"]
        server.listen()
        assert levels(installation.port(number, is_daemon_up=True)) == ["ok"]
        assert "ml-assets ui --port" in said(installation.port(number, is_daemon_up=False))
