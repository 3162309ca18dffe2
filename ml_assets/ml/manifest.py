"""A folder's manifest: the SHA-256 of every other file, so that no change of an immutable folder goes unseen.

Who hands a folder over may have made the manifest, too. So nothing is read before it is known to be a plain file of a
sensible size, and only a digest of the manifest from elsewhere says whose folder it is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_assets.errors import ModelError

NAME = "manifest.json"
FORMAT = 1
FIX = "Put the folder back, `ml-assets lake recover --from BACKUP`, or train again."
MAX_FILES, MAX_DEPTH = 1_000, 8
TEXTS = frozenset({".json", ".md", ".py", ".sql", ".txt"})  # read whole
MAX_TEXT, MAX_FILE = 64 * 2**20, 16 * 2**30


def write(folder: Path, facts: Mapping[str, Any]) -> str:
    """Write the manifest of a folder's files, and what else there is to say; returns the manifest's own SHA-256."""
    files = {name: sha256(folder / name) for name in sorted(_names(folder, "folder") - {NAME})}
    (folder / NAME).write_text(json.dumps({"format": FORMAT, **facts, "files": files}, indent=2))
    return sha256(folder / NAME)


def verify(folder: Path, digest: str | None = None, what: str = "bundle", fix: str = FIX) -> dict[str, str]:
    """Check a folder's files against its manifest, and the manifest against the registry.

    Args:
        folder: The folder.
        digest: Expected SHA-256 of the manifest; None where nobody knows it.
        what: What the folder is, for errors.
        fix: The next step, for errors.

    Returns:
        File name -> SHA-256.

    Raises:
        ModelError: A file is missing, changed, unknown, no plain file or far too large, or the manifest is unreadable.
    """
    file = folder / NAME
    present = _names(folder, what) if folder.is_dir() else set()
    if NAME not in present:
        raise ModelError(f"The {what} has no manifest.", where={"folder": folder}, fix=fix)
    if digest is not None and sha256(file) != digest:
        raise ModelError(f"The {what} is not the one that was registered.", where={"file": file}, fix=fix)
    files = _read(file, what)
    for name in sorted((present - {NAME}) ^ set(files)):
        state = "an unknown" if name in present else "a missing"
        raise ModelError(f"The {what} has {state} file.", where={"file": folder / name}, fix=fix)
    for name, expected in files.items():
        if sha256(folder / name) != expected:
            raise ModelError(f"A file of the {what} was changed.", where={"file": folder / name}, fix=fix)
    return files


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(file: Path, what: str) -> dict[str, str]:
    """File name -> SHA-256, from a manifest of the format that this version reads."""
    try:
        found = json.loads(file.read_bytes())
        files, known = found["files"], found.get("format", FORMAT)
        if not all(isinstance(text, str) for pair in files.items() for text in pair):
            raise TypeError("a name or a SHA-256 is no text")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        found_text = f"{type(error).__name__}: {error}"
        raise ModelError(
            f"The manifest of the {what} cannot be read.", found=found_text, where={"file": file}
        ) from error
    if known != FORMAT:
        raise ModelError(
            f"The {what} has a format that this version does not read.",
            found=f"format {known!r}; known is {FORMAT}",
            where={"file": file},
            fix="Use the version of ml_assets that wrote it, or train again.",
        )
    return dict(files)


def _names(folder: Path, what: str) -> set[str]:
    """Names of all files, those of folders in it included.

    Raises:
        ModelError: Something in it is neither a plain file nor a folder, or far too large.
    """
    names: set[str] = set()
    for entry, name in _entries(folder, ""):
        most = MAX_TEXT if Path(name).suffix in TEXTS else MAX_FILE
        if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
            problem = "holds something that is no plain file."
        elif entry.stat(follow_symlinks=False).st_size > most:
            problem = f"holds a file of more than {most // 2**20:,} MiB."
        elif len(names) == MAX_FILES:
            problem = f"holds more than {MAX_FILES:,} files."
        else:
            names.add(name)
            continue
        raise ModelError(f"The {what} {problem}", where={"file": folder / name}, fix="Remove it, or train again.")
    return names


def _entries(folder: Path, prefix: str, depth: int = 0) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Everything but folders, with names relative to the outermost folder; links are not followed."""
    with os.scandir(folder) as found:
        for entry in found:
            if depth < MAX_DEPTH and entry.is_dir(follow_symlinks=False):
                yield from _entries(folder / entry.name, f"{prefix}{entry.name}/", depth + 1)
            else:
                yield entry, prefix + entry.name
