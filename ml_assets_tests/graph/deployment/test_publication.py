"""A published release is whole, or is not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ml_assets.errors import ServingError
from ml_assets.graph.deployment.publication import publish
from ml_assets.ml import manifest


def packed(folder: Path, text: str) -> str:
    """A folder with a manifest; its SHA-256."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "model").write_text(text)
    (folder / f"only-{text}").touch()
    return manifest.write(folder, {"version": "1.0.0"})


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_same_content_is_left_alone_and_other_content_is_replaced(tmp_path: Path) -> None:
    release, place = tmp_path / "release", tmp_path / "published" / "loans"
    digest = packed(release, "a")
    assert publish(release, digest, str(place), "1.0.0", {"version": "1.0.0"}) == "copied"
    assert content(place / "1.0.0") == content(release)
    inode = (place / "1.0.0").stat().st_ino
    assert publish(release, digest, f"file://{place}", "1.0.0", {"version": "1.0.0"}) == "there already"
    assert (place / "1.0.0").stat().st_ino == inode
    (place / "1.0.0" / "bundle" / "model").write_text("changed by somebody")
    assert publish(release, digest, str(place), "1.0.0", {"version": "1.0.0"}) == "copied over other content"
    digest = packed(release, "b")
    assert publish(release, digest, str(place), "1.0.0", {"version": "1.0.0"}) == "copied over other content"
    assert content(place / "1.0.0") == content(release)
    assert {path.name for path in place.iterdir()} == {"1.0.0", "champion.json"}


def test_a_copy_that_fails_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, place = tmp_path / "release", tmp_path / "loans"
    digest = packed(release, "a")
    publish(release, digest, str(place), "1.0.0", {"version": "1.0.0"})

    def half(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "model").write_text("half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", half)
        with pytest.raises(ServingError, match="cannot be published") as caught:
            publish(release, digest, str(place), "1.0.1", {"version": "1.0.1"})
    assert "No space left on device" in str(caught.value)
    assert not (place / "1.0.1").exists()
    assert json.loads((place / "champion.json").read_text()) == {"version": "1.0.0"}
    assert publish(release, digest, str(place), "1.0.1", {"version": "1.0.1"}) == "copied"
    assert {path.name for path in place.iterdir()} == {"1.0.0", "1.0.1", "champion.json"}
