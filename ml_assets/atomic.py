"""Files and folders that appear whole or not at all, and short hashes of content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def short_hash(text: str, length: int = 16) -> str:
    """The first hexadecimal digits of a text's SHA-256.

    Args:
        text: What is hashed; structured values as JSON with sorted keys.
        length: Digits. Those that are stored already keep the length that they have.
    """
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def write_text(file: Path, text: str) -> None:
    """Write a text file that readers see whole: as it was, or as it will be, also after a power cut."""
    with written_file(file) as new:
        new.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def written_file(file: Path) -> Iterator[Path]:
    """A hidden path beside a file's, whose file takes its place when the block ends; none stays where it raises."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = _beside(file)
    try:
        yield new
        move(new, file)
    finally:
        new.unlink(missing_ok=True)


@contextlib.contextmanager
def written_folder(folder: Path) -> Iterator[Path]:
    """An empty hidden folder beside the one meant, which takes its name when the block ends.

    What a process that was killed has left of one is removed first. A folder of the name that holds something is never
    replaced: that is an `OSError`, and what was written is gone.
    """
    new = _beside(folder)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        move(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def move(new: Path, target: Path) -> None:
    """Give a file or folder that is written its name, when it is on the disk; a file of the name is replaced."""
    for part in (*new.rglob("*"), new) if new.is_dir() else (new,):
        sync(part)
    new.replace(target)
    sync(target.parent)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
