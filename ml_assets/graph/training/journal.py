"""The journal of a search: each finished trial as a line of JSON, so that a killed search goes on where it was.

A trial is on disk before the search goes on. The file's name holds a hash of everything that decides the trials; it is
removed once they are in the lake.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """Trials by number, in a file that only grows.

    Args:
        file: Need not exist; None keeps nothing.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.recorded: dict[int, dict[str, Any]] = {}
        if file is not None and file.exists():
            self._read(file)

    @property
    def seconds(self) -> float:
        """Seconds that the search had taken when it last wrote."""
        return max((line["elapsed"] for line in self.recorded.values()), default=0.0)

    def write(self, line: dict[str, Any]) -> None:
        """Append a trial; it is on disk when this returns.

        Args:
            line: `number`, `elapsed` (seconds of the whole search so far), and whatever tells of the trial.
        """
        self.recorded[line["number"]] = line
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Forget the search."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    def _read(self, file: Path) -> None:
        whole = 0
        for raw in file.read_bytes().splitlines(keepends=True):
            try:
                line = json.loads(raw)
            except ValueError:
                break
            if not raw.endswith(b"\n"):
                break
            self.recorded[line["number"]] = line
            whole += len(raw)
        os.truncate(file, whole)  # what a killed process had half written
