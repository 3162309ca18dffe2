"""One pipeline of a project, as `ml-assets replay` loads it: by its folder alone, whatever is beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ml_assets.errors import SpecError, UnknownPipeline
from ml_assets.lake.paths import Paths
from ml_assets.loading import load_pipeline


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Dagster's own
def test_a_project_that_is_not_installed(
    tmp_path: Path, write_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_project(tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", str(root))])
    broken = {"half": "type: ml_assets.MLPipeline\nattributes: {name: [", "wrong": "type: ml_assets.MLPipeline\n"}
    for name, text in broken.items():
        (root / "credit/defs" / name).mkdir()
        (root / "credit/defs" / name / "defs.yaml").write_text(text)
    for name in [name for name in sys.modules if name.partition(".")[0] == "credit"]:  # of another test's project
        monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    try:
        assert load_pipeline(Paths.of().root, "loans").spec.name == "loans"
        for name, text in (("half", "while parsing"), ("wrong", "no attributes")):
            with pytest.raises(SpecError, match=rf"'{name}' cannot be loaded[^$]*{text}"):
                load_pipeline(root, name)
        with pytest.raises(UnknownPipeline, match="did you mean 'loans'"):
            load_pipeline(root, "loan")
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "credit":
                del sys.modules[name]
