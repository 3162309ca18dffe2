"""What is written atomically is never seen in part, and short hashes stay those that are stored."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ml_assets.atomic import short_hash, write_text, written_file, written_folder


def test_a_file_is_as_it_was_until_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "x.txt"
    write_text(file, "one")
    with written_file(file) as new:
        new.write_text("tw")
        assert file.read_text() == "one"
        new.write_text("two")
    assert file.read_text() == "two"
    with pytest.raises(ZeroDivisionError), written_file(file) as new:
        new.write_text(f"three {1 / 0}")
    assert file.read_text() == "two"
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_appears_whole_and_replaces_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "x"
    left_over = folder.with_name(".x.new")
    left_over.mkdir(parents=True)
    (left_over / "old").touch()
    with written_folder(folder) as new:
        assert list(new.iterdir()) == []
        (new / "a").write_text("1")
        assert not folder.exists()
    assert [file.name for file in folder.iterdir()] == ["a"]
    with pytest.raises(OSError, match="not empty"), written_folder(folder) as new:
        (new / "b").touch()
    with pytest.raises(ZeroDivisionError), written_folder(tmp_path / "y") as new:
        raise ZeroDivisionError
    assert [file.name for file in folder.parent.iterdir()] == ["x"]
    assert [file.name for file in folder.iterdir()] == ["a"]


def test_a_short_hash_is_the_beginning_of_sha256() -> None:
    assert short_hash("text") == hashlib.sha256(b"text").hexdigest()[:16]
    assert short_hash("text", 12) == short_hash("text")[:12]
