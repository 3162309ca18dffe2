"""A project that is not installed is found by its folder alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ml_assets.loading import load_pipeline
from ml_assets.store.paths import Paths


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Dagster's own
def test_a_project_that_is_not_installed(
    tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_project(tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", str(root))])
    before = set(sys.modules)
    try:
        assert load_pipeline(Paths.of().root, "loans").spec.name == "loans"
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "credit":
                del sys.modules[name]
