"""Files wherever they lie: listed and, where they are remote, copied here before they are read.

A place is a local folder or any URL that fsspec opens (s3://, gs://, sftp://, ...). A remote file is copied once, to
the spool folder, under a name that says which content it is; whoever has stored its rows discards the copy.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, NamedTuple
from unicodedata import category

from ml_assets.atomic import short_hash
from ml_assets.errors import SourceError

TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
TAGS = ("ETag", "etag", "md5Hash", "content_md5", "crc32c")
UNSHOWN = ("Cc", "Zl", "Zp")  # Unicode's control characters and line ends
UNLISTED = "The folder cannot be listed."
EPOCH = dt.datetime(1970, 1, 1)


class Entry(NamedTuple):
    """A file as its folder lists it.

    Args:
        path: Absolute path, or URL.
        relative: Path below the listed folder, with `/`.
        size_bytes: Size.
        modified_at: Last change, UTC; 1970 where the place does not tell.
        tag: What else tells one content from another: a local file's time of change (ctime, which no tool sets back),
            a remote one's ETag. None where there is none.
        fault: Why it cannot be read, such as a link that leads nowhere.
    """

    path: str
    relative: str
    size_bytes: int
    modified_at: dt.datetime
    tag: str | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Place:
    """A folder that is listed and read.

    Args:
        address: Absolute path, or URL.
        spool: Local folder for copies of remote files.
        options: Of the URL's filesystem.
    """

    address: str
    spool: Path
    options: Mapping[str, Any]

    @property
    def is_remote(self) -> bool:
        return is_url(self.address)

    def entries(self, deep: bool) -> Iterator[Entry]:
        """Files of the folder, and of its subfolders where it is `deep`; hidden ones (`.x`, `_x`) only as markers.

        Raises:
            SourceError: There is no such folder, or it cannot be listed.
        """
        return self._remote_entries(deep) if self.is_remote else self._local_entries(Path(self.address), deep)

    def entry(self, path: str) -> Entry | None:
        """One file as it is now; None where it has gone."""
        if not self.is_remote:
            try:
                return _local_entry(path, Path(path).name, Path(path).stat())
            except FileNotFoundError:
                return None
        filesystem = self._filesystem()
        try:
            return _remote_entry(filesystem, filesystem.info(path), self.address)
        except FileNotFoundError:
            return None

    def local(self, path: str, relative: str, version: str) -> Path:
        """A local file with the bytes of `path`: the file itself, or its copy in the spool.

        Args:
            path: Absolute path, or URL.
            relative: Path below the folder; the copy keeps it, because it may hold hive columns.
            version: Tells one content from another, such as size and time.

        Raises:
            SourceError: The file cannot be copied.
        """
        if not self.is_remote:
            return Path(path)
        copy = self._spooled(path, version) / relative
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f".{os.getpid()}.part")
            try:
                self._filesystem().get_file(path, str(part))
                part.replace(copy)
            except Exception as error:  # every filesystem has errors of its own
                raise _unreachable(error, path) from error
            finally:
                part.unlink(missing_ok=True)
        return copy

    def discard(self, path: str, version: str) -> None:
        """Remove the copy of a remote file."""
        if self.is_remote:
            shutil.rmtree(self._spooled(path, version), ignore_errors=True)

    def _spooled(self, path: str, version: str) -> Path:
        return self.spool / short_hash(f"{path} {version}")

    def _local_entries(self, folder: Path, deep: bool) -> Iterator[Entry]:
        if not folder.is_dir():
            raise _missing(folder)
        # Each with the folders above it: a link to one of them would lead round for ever.
        waiting: list[tuple[str, str, tuple[tuple[int, int], ...]]] = [(str(folder), "", ())]
        while waiting:
            place, prefix, above = waiting.pop()
            try:
                stat = Path(place).stat()
                items = list(os.scandir(place))
            except OSError as error:
                if not prefix:
                    raise SourceError(
                        "The folder cannot be listed.", found=str(error), where={"folder": place}
                    ) from error
                yield _faulty(place, prefix.rstrip("/"), f"The folder cannot be listed: {error.strerror}.")
                continue
            here = (*above, (stat.st_dev, stat.st_ino))
            for item in items:
                found = _looked_at(item, prefix)
                if isinstance(found, Entry):
                    yield found
                elif found and deep and not item.name.startswith("_") and (found.st_dev, found.st_ino) not in here:
                    waiting.append((item.path, f"{prefix}{item.name}/", here))

    def _remote_entries(self, deep: bool) -> Iterator[Entry]:
        filesystem = self._filesystem()
        try:
            filesystem.invalidate_cache()
            root = filesystem._strip_protocol(self.address)
            found = filesystem.find(root, maxdepth=None if deep else 1, detail=True)
            if not found and not filesystem.exists(root):
                raise _missing(self.address)
        except SourceError:
            raise
        except FileNotFoundError:
            raise _missing(self.address) from None
        except Exception as error:  # every filesystem has errors of its own
            raise _unreachable(error, self.address) from error
        for info in found.values():
            entry = _remote_entry(filesystem, info, root)
            if not any(part.startswith(".") for part in entry.relative.split("/")):
                yield entry

    def _filesystem(self) -> Any:
        import fsspec

        try:
            return fsspec.url_to_fs(self.address, **self.options)[0]
        except ImportError as error:
            raise SourceError(
                f"A library is missing for {self.address.partition('://')[0]}:// addresses.",
                found=str(error),
                where={"url": self.address},
                fix="Install the library; for s3:// it is: pip install 's3fs'",
            ) from error
        except ValueError as error:
            raise SourceError("The URL cannot be opened.", found=str(error), where={"url": self.address}) from error


def _looked_at(item: os.DirEntry[str], prefix: str) -> Entry | os.stat_result | None:
    """A file as an entry, a folder as what the system knows of it; None for what does not count."""
    relative = prefix + item.name
    if item.name.startswith("."):
        return None
    try:
        stat = item.stat()
    except OSError as error:
        # What is no link has gone since the folder was listed.
        fault = f"It is a link that leads nowhere: {error.strerror}."
        return _faulty(item.path, relative, fault) if item.is_symlink() else None
    if S_ISDIR(stat.st_mode):
        return stat
    if not S_ISREG(stat.st_mode):
        return _faulty(item.path, relative, "It is a pipe, socket or device, not a file.")
    if not relative.isprintable() and relative != _printable(relative):
        return _faulty(item.path, relative, "Its name is not UTF-8, or holds control characters.")
    return _local_entry(item.path, relative, stat)


def _local_entry(path: str, relative: str, stat: os.stat_result) -> Entry:
    return Entry(path, relative, stat.st_size, _utc(stat.st_mtime), tag=str(stat.st_ctime_ns))


def _faulty(path: str, relative: str, fault: str) -> Entry:
    return Entry(_printable(path), _printable(relative), 0, EPOCH, fault=fault)


def _printable(text: str) -> str:
    """A name as text that can be stored and shown: bytes that are not UTF-8 and control characters as `\\xff`."""
    decoded = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(c.encode("unicode_escape").decode() if category(c) in UNSHOWN else c for c in decoded)


def is_url(path: str) -> bool:
    """Is it an address rather than a path?"""
    return "://" in path


def _remote_entry(filesystem: Any, info: Mapping[str, Any], root: str) -> Entry:
    name = str(info["name"])
    changed = next((info[key] for key in TIMES if info.get(key) is not None), EPOCH)
    if isinstance(changed, int | float):
        changed = _utc(changed)
    elif isinstance(changed, str):
        changed = dt.datetime.fromisoformat(changed)
    if changed.tzinfo is not None:
        changed = changed.astimezone(dt.UTC).replace(tzinfo=None)
    root = filesystem._strip_protocol(root)
    relative = name.removeprefix(root).lstrip("/")
    tag = next((str(info[key]) for key in TAGS if info.get(key)), None)
    return Entry(filesystem.unstrip_protocol(name), relative, int(info["size"] or 0), changed, tag)


def _utc(seconds: float) -> dt.datetime:
    try:
        return EPOCH + dt.timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return EPOCH  # a file may claim a year that no calendar has


def _missing(folder: object) -> SourceError:
    return SourceError(
        "The folder does not exist.",
        where={"folder": folder},
        fix="Create the folder, or correct its path in defs.yaml.",
    )


def _unreachable(error: Exception, address: str) -> SourceError:
    return SourceError(
        "The address cannot be read.",
        found=f"{type(error).__name__}: {' '.join(str(error).split())}",
        where={"url": address},
        fix="Look at the address, the network and the credentials in the environment; it is tried again at each look.",
    )
