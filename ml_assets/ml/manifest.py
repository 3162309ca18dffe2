"""A folder's manifest: the SHA-256 of every other file, so that no change of an immutable folder goes unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_assets.errors import ModelError

NAME = "manifest.json"
FIX = "Put the folder back from a backup, or train again."


def write(folder: Path, facts: Mapping[str, Any]) -> str:
    """Write the manifest of a folder's files, and what else there is to say; returns the manifest's own SHA-256."""
    files = {name: sha256(folder / name) for name in sorted(_names(folder))}
    (folder / NAME).write_text(json.dumps({**facts, "files": files}, indent=2))
    return sha256(folder / NAME)


def verify(folder: Path, digest: str | None = None, what: str = "bundle") -> None:
    """Check a folder's files against its manifest, and the manifest against the registry.

    Args:
        folder: The folder.
        digest: Expected SHA-256 of the manifest; None where nobody knows it.
        what: What the folder is, for errors.

    Raises:
        ModelError: A file is missing, changed or unknown.
    """
    file = folder / NAME
    if not file.exists():
        raise ModelError(f"The {what} has no manifest.", where={"folder": folder}, fix=FIX)
    if digest is not None and sha256(file) != digest:
        raise ModelError(f"The {what} is not the one that was registered.", where={"file": file}, fix=FIX)
    files = json.loads(file.read_text())["files"]
    present = _names(folder)
    for name in sorted(present ^ set(files)):
        state = "an unknown" if name in present else "a missing"
        raise ModelError(f"The {what} has {state} file.", where={"file": folder / name}, fix=FIX)
    for name, expected in files.items():
        if sha256(folder / name) != expected:
            raise ModelError(f"A file of the {what} was changed.", where={"file": folder / name}, fix=FIX)


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names(folder: Path) -> set[str]:
    """Names of all files but the manifest, those of folders in it included."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return files - {NAME}
