"""`ml-assets monitor` where it cannot start, and Evidently's report of a batch; its UI was looked at in a browser."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from ml_assets.cli import main
from ml_assets_tests.conftest import Project


def test_what_is_missing_or_taken_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, ["monitor"])
    assert (found.exit_code, "There is no drift report yet" in found.output) == (1, True)
    project = tmp_path / "data/evidently/d359dc38-236e-5f2c-8d3f-7728f2b8fd12"
    project.mkdir(parents=True)
    (project / "metadata.json").write_text("{}")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = CliRunner().invoke(main, ["monitor", "--port", str(port)])
    assert (found.exit_code, f"Port {port} is taken" in found.output) == (1, True)


def test_evidentlys_own_report_of_a_batch_is_written_on_demand(
    trained: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").touch()
    shutil.copytree(trained.paths.evidently, tmp_path / "data/evidently")
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, ["monitor", "loans", "5"])
    file = tmp_path / "data/reports/loans/drift/5.evidently.html"
    assert (found.exit_code, str(file) in found.output) == (0, True)
    assert "Content-Security-Policy" in file.read_text()[:2000]
    assert (trained.paths.reports / "loans/drift/5.html").stat().st_size < 200_000 < file.stat().st_size
    for words, said in ((["loans"], "Name a batch, too."), (["loans", "6"], "Evidently has no run of this batch.")):
        found = CliRunner().invoke(main, ["monitor", *words])
        assert (found.exit_code, said in found.output) == (1, True)
