"""The closed and open files of the servers' logs, where pipelines read them: a folder, or a place at a URL.

Servers that share the folder with the pipelines write to it. Others ship their closed segments (server/shipping.py) to
where the project's files are. Belongs here: listing, reading and removing segments. Does not: what their lines say.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ml_assets.errors import SourceError
from ml_assets.lake.artifacts import FolderArtifacts, UrlArtifacts
from ml_assets.lake.paths import Paths
from ml_assets.lake.storage import reaching
from ml_assets.ml.log_records import SUFFIX

READ_BYTES = 32 * 2**20


class Segments(Protocol):
    """The segments of a pipeline by name, `<hour>/<server>-<n>.log`."""

    def sizes(self) -> dict[str, int]:
        """Segment -> bytes, of all hours, in order."""

    def read(self, name: str, start: int, least: int) -> bytes:
        """The next bytes of a segment: up to `least`, or more if they would not reach the end of a line.

        Raises:
            SourceError: It cannot be read.
            LakeBusy: Its place cannot be reached.
        """

    def has_more(self, name: str, start: int) -> bool:
        """Does a whole line follow an offset? What has no end of line was never answered, or is being written."""

    def remove_if_read(self, name: str, read: int) -> bool:
        """Remove a segment that nobody writes any more and of which no whole line is left; True where it is gone."""


def segments_of(paths: Paths, pipeline: str) -> Segments:
    """Where a pipeline finds what its servers have logged."""
    shipped = paths.shipped_log
    if isinstance(shipped, UrlArtifacts):
        return StoredSegments(shipped.link(pipeline))
    return FolderSegments((shipped.folder if isinstance(shipped, FolderArtifacts) else paths.serving) / pipeline)


@dataclass(frozen=True)
class FolderSegments:
    """Segments in a folder; a process that writes one holds its lock."""

    folder: Path

    def sizes(self) -> dict[str, int]:
        found = {}
        for file in sorted(self.folder.glob(f"*/*{SUFFIX}")):
            with contextlib.suppress(FileNotFoundError):  # removed at this moment
                found[f"{file.parent.name}/{file.name}"] = file.stat().st_size
        return found

    def read(self, name: str, start: int, least: int) -> bytes:
        file = self.folder / name
        try:
            with file.open("rb") as opened:
                opened.seek(start)
                data = opened.read(least)
                while b"\n" not in data and (more := opened.read(least)):
                    data += more
        except OSError as error:
            raise _unreadable(error, file) from None
        return data

    def has_more(self, name: str, start: int) -> bool:
        with contextlib.suppress(FileNotFoundError), (self.folder / name).open("rb") as opened:
            opened.seek(start)
            return any(b"\n" in data for data in iter(lambda: opened.read(READ_BYTES), b""))
        return False

    def remove_if_read(self, name: str, read: int) -> bool:
        file = self.folder / name
        with contextlib.suppress(FileNotFoundError, BlockingIOError), file.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.has_more(name, read):
                return False
            file.unlink()
            with contextlib.suppress(OSError):  # other segments are there
                file.parent.rmdir()
            return True
        return False


@dataclass(frozen=True)
class StoredSegments:
    """Segments at a URL that fsspec reaches. Each was put there whole and closed, and is never changed."""

    url: str

    def sizes(self) -> dict[str, int]:
        with self._reached() as (filesystem, root):
            found = filesystem.find(root, detail=True)
        names = {str(PurePosixPath(path).relative_to(root)): int(info["size"]) for path, info in found.items()}
        return {name: names[name] for name in sorted(names) if name.endswith(SUFFIX) and name.count("/") == 1}

    def read(self, name: str, start: int, least: int) -> bytes:
        data = b""
        try:
            while b"\n" not in data and (more := self._range(name, start + len(data), least)):
                data += more
        except FileNotFoundError as error:
            raise _unreadable(error, f"{self.url}/{name}") from None
        return data

    def has_more(self, name: str, start: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            while data := self._range(name, start, READ_BYTES):
                if b"\n" in data:
                    return True
                start += len(data)
        return False

    def remove_if_read(self, name: str, read: int) -> bool:
        if self.has_more(name, read):
            return False
        with self._reached() as (filesystem, root), contextlib.suppress(FileNotFoundError):
            filesystem.rm_file(f"{root}/{name}")
        return True

    def _range(self, name: str, start: int, least: int) -> bytes:
        """Bytes from an offset; none at the end, where S3 refuses a range."""
        with self._reached() as (filesystem, root):
            path, end = f"{root}/{name}", start + least
            size = int(filesystem.size(path))
            return bytes(filesystem.cat_file(path, start=start, end=min(end, size))) if start < size else b""

    @contextlib.contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        import fsspec

        with reaching("The servers' logs", self.url):
            filesystem, root = fsspec.url_to_fs(self.url)
            filesystem.invalidate_cache()  # servers ship from other machines
            yield filesystem, str(root)


def _unreadable(error: OSError, file: Path | str) -> SourceError:
    return SourceError("A segment of the prediction log cannot be read.", found=error, where={"file": file})
