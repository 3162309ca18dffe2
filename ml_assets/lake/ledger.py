"""What is known of the content of files: DuckLake keeps their sizes, and a ledger beside the lake their SHA-256.

A hash is taken when a file is copied, or when it is first checked: from then on a change of one bit is seen. The ledger
itself is a file, `lake/hashes.json`, which is replaced as a whole; one that is lost costs a reading of all files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from ml_assets.errors import LakeError
from ml_assets.lake.storage import File, Storage

NAME = "lake/hashes.json"
FORMAT = 1
SAVE_S = 10  # what a process that is killed has done since is done again


@dataclass(frozen=True)
class LedgerFile:
    """One file.

    Args:
        size: Bytes.
        sha256: Of its bytes.
        written_at: When the file was written whose bytes these are, in seconds since 1970.
    """

    size: int
    sha256: str
    written_at: float

    def is_of(self, file: File) -> bool:
        """Has the file these bytes still, as far as its name, size and time tell? A data file never changes."""
        return self.size == file.size and (file.name.endswith(".parquet") or self.written_at == file.written_at)


@dataclass
class Ledger:
    """The hashes of a place's files, by their names.

    Args:
        place: Where the files are.
        lake: The id of the lake that the files are of; empty where there is no ledger yet.
        files: Name -> what is known of it.
    """

    place: Storage
    lake: str = ""
    files: dict[str, LedgerFile] = field(default_factory=dict)
    _saved_at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, place: Storage) -> Ledger:
        """That of a place; empty where it has none.

        Raises:
            LakeError: It cannot be read.
        """
        try:
            with place.opened(NAME) as file:
                found = json.loads(file.read())
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}; known is {FORMAT}")
            return cls(place, found["lake"], {name: LedgerFile(*entry) for name, entry in found["files"].items()})
        except FileNotFoundError:
            return cls(place)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LakeError(
                "The list of known hashes cannot be read.",
                found=error,
                where={"file": f"{place.url}/{NAME}"},
                fix="Remove the file: the next check or backup reads every file once more, and writes it anew.",
            ) from error

    def add(self, name: str, entry: LedgerFile) -> None:
        """Keep what is known of a file; it is saved from time to time."""
        self.files[name] = entry
        if time.monotonic() - self._saved_at > SAVE_S:
            self.save()

    def keep(self, names: Collection[str]) -> None:
        """Forget all files but these."""
        self.files = {name: entry for name, entry in self.files.items() if name in names}

    def save(self) -> None:
        """Write the ledger.

        Raises:
            OSError, LakeError: The place cannot be written.
        """
        files = {name: [one.size, one.sha256, one.written_at] for name, one in sorted(self.files.items())}
        with self.place.put(NAME) as new:
            new.write_text(json.dumps({"format": FORMAT, "lake": self.lake, "files": files}, indent=0))
        self._saved_at = time.monotonic()
