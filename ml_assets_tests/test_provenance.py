"""The commit of a project's folder."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from ml_assets import provenance
from ml_assets.provenance import commit_of


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GIT_COMMIT", raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")


def run(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=ana", "-c", "user.email=ana@example.org")
    return subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True).stdout.strip()


def test_a_commit_and_what_differs_from_it(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""
    run(tmp_path, "init")
    assert commit_of(tmp_path) == ""  # nothing is committed yet
    project = tmp_path / "credit"
    (project / "data").mkdir(parents=True)
    (project / "defs.yaml").write_text("a: 1")
    run(tmp_path, "add", ".")
    run(tmp_path, "commit", "-m", "first")
    head = run(tmp_path, "rev-parse", "HEAD")
    assert len(head) == 40
    (project / "data" / "own.sql").touch()
    (project / ".env").touch()
    (tmp_path / "elsewhere").touch()
    assert commit_of(project) == head
    (project / "features.sql").touch()
    assert commit_of(project) == head + "+changes"
    (project / "features.sql").unlink()
    (project / "defs.yaml").write_text("a: 2")
    assert commit_of(project) == head + "+changes"


def test_the_environment_says_it_in_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMIT", "abc")
    assert commit_of(tmp_path) == "abc"


def test_a_git_that_hangs_or_is_missing_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "git"
    slow.write_text('#!/bin/sh\ncase "$*" in *status*) exec sleep 9;; *) echo abc;; esac\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(provenance, "TIMEOUT_S", 0.2)
    started = time.monotonic()
    assert commit_of(tmp_path) == "abc+unknown"
    assert time.monotonic() - started < 2
    monkeypatch.setenv("PATH", "")
    assert commit_of(tmp_path) == ""
