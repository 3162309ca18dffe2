"""What is kept of a Python file goes by its text, and is never trusted further."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ml_assets.graph import source_code
from ml_assets.graph.source_code import remembered

TEXT = "from .helpers import depth\n\nLIMIT = depth()\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    monkeypatch.setattr("sys.pycache_prefix", None)
    written = tmp_path / "own.py"
    written.write_text(TEXT)
    return written


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that have been parsed."""
    texts: list[str] = []
    real = source_code.understood.__wrapped__

    def counted(text: str, name: str) -> source_code.Source:
        texts.append(text)
        return real(text, name)

    monkeypatch.setattr(source_code, "understood", counted)
    return texts


def kept(file: Path) -> list[Path]:
    return list((file.parent / "__pycache__").glob("*"))


def test_a_text_is_parsed_once(file: Path, parsed: list[str]) -> None:
    first = remembered(file)
    assert first.imports == ((1, "helpers", ("depth",)),)
    assert remembered(file) == first
    assert parsed == [TEXT]


def test_another_text_is_parsed_though_the_time_is_the_same(file: Path, parsed: list[str]) -> None:
    before, first = file.stat(), remembered(file)
    file.write_text(TEXT.replace("depth()", "sized()"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert remembered(file).hash != first.hash


def test_other_rules_parse_again(file: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    remembered(file)
    monkeypatch.setattr(source_code, "_rules", lambda: "others")
    remembered(file)
    assert parsed == [TEXT, TEXT]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"key": 1}', "\udcff"], ids=["empty", "cut", "list", "other", "bytes"]
)
def test_a_damaged_copy_is_made_again(file: Path, parsed: list[str], text: str) -> None:
    first = remembered(file)
    (copy,) = kept(file)
    copy.write_bytes(text.encode(errors="surrogateescape"))
    assert remembered(file) == first
    assert remembered(file) == first
    assert parsed == [TEXT, TEXT]


def test_where_nothing_can_be_kept_it_is_parsed_each_time(
    file: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (file.parent / "__pycache__").touch()  # a file, where the folder would be
    assert remembered(file) == remembered(file)
    (file.parent / "__pycache__").unlink()
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    assert remembered(file) == remembered(file)
    assert len(parsed) == 4
    assert not kept(file)
