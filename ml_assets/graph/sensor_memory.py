"""What a sensor remembers from one tick to the next, in files; its cursor is the SHA-256 of one.

Dagster stores the cursor with every tick, also where nothing happened: it must stay small. A file is named by its
content and outlives the tick that wrote it, because Dagster may keep the cursor before.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ml_assets.atomic import write_text
from ml_assets.errors import LakeError


@dataclass(frozen=True)
class Memory:
    """The files of one sensor.

    Args:
        folder: Theirs alone.
    """

    folder: Path

    def read(self, cursor: str | None) -> str | None:
        """The text behind a cursor; None where there is none any more. Earlier versions kept the text as the cursor."""
        if cursor is None or cursor.startswith(("[", "{")):
            return cursor
        try:
            text = (self.folder / cursor).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None
        return text if _digest(text) == cursor else None

    def write(self, text: str, before: str | None) -> str:
        """The cursor that stands for a text; only its file and the one of the cursor before stay.

        Raises:
            LakeError: The folder cannot be written.
        """
        cursor = _digest(text)
        file = self.folder / cursor
        if file.exists():
            return cursor
        try:
            write_text(file, text)
            for other in self.folder.iterdir():
                if other.name not in (cursor, before):
                    other.unlink()
        except OSError as error:
            raise LakeError("What a sensor has seen cannot be kept.", found=error, where={"file": file}) from error
        return cursor


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
