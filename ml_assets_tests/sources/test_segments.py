"""Segments in a folder and at a URL keep the same promises; test_cluster.py has them on a real S3 server."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from ml_assets.errors import LakeBusy, SourceError
from ml_assets.sources.segments import FolderSegments, Segments, StoredSegments

NAME = "2026-01-02T09/a-1.log"


@pytest.fixture(params=["folder", "url"])
def segments(request: pytest.FixtureRequest, tmp_path: Path) -> Segments:
    return FolderSegments(tmp_path) if request.param == "folder" else StoredSegments(f"file://{tmp_path}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / NAME
    made.parent.mkdir()
    made.write_bytes(b"one\ntwo\nto")
    return made


def test_sizes_of_whole_segments_in_order(segments: Segments, file: Path) -> None:
    (file.parent / "a-0.log").write_bytes(b"")
    (file.parent / ".a-2.log.new").write_bytes(b"half")
    (file.parent / ".a-3.log.new").mkdir()
    (file.parent / ".a-3.log.new" / "a-3.log").write_bytes(b"half")
    assert list(segments.sizes().items()) == [("2026-01-02T09/a-0.log", 0), (NAME, 10)]


def test_there_may_be_none(segments: Segments) -> None:
    assert segments.sizes() == {}
    assert not segments.has_more(NAME, 0)
    with pytest.raises(SourceError, match="cannot be read"):
        segments.read(NAME, 0, 10)


def test_a_read_goes_on_to_the_end_of_a_line(segments: Segments, file: Path) -> None:
    assert segments.read(NAME, 0, 100) == b"one\ntwo\nto"
    assert segments.read(NAME, 4, 4) == b"two\n"
    assert segments.read(NAME, 4, 1) == b"two\n"
    assert segments.read(NAME, 8, 1) == b"to"
    assert segments.read(NAME, 10, 5) == b""


def test_only_what_is_read_whole_is_removed(segments: Segments, file: Path) -> None:
    assert segments.has_more(NAME, 4)
    assert not segments.remove_if_read(NAME, 4)
    assert file.exists()
    assert not segments.has_more(NAME, 8), "what has no end was never answered"
    assert segments.remove_if_read(NAME, 8)
    assert segments.sizes() == {}


def test_what_a_process_writes_stays(file: Path, tmp_path: Path) -> None:
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not FolderSegments(tmp_path).remove_if_read(NAME, 8)


def test_a_place_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.find", _refused)
    with pytest.raises(LakeBusy, match="cannot be reached"):
        StoredSegments(f"file://{tmp_path}").sizes()


def _refused(*_: object, **__: object) -> None:
    raise ConnectionRefusedError
