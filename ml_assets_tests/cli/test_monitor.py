"""`ml-assets monitor` where it cannot start; how it looks was seen in a browser."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from ml_assets.cli import main


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
