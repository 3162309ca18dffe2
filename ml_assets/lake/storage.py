"""Where the lake's Parquet files are: a local folder, or a URL that DuckDB and fsspec both reach, such as S3.

DuckDB writes and reads the files; here they are listed, measured, copied and removed. Names are relative to the place,
such as `flights/features/batch=2013-01/ducklake-....parquet`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import duckdb

from ml_assets import atomic
from ml_assets.errors import LakeBusy, LakeError
from ml_assets.lake.database import load_extension
from ml_assets.lake.sql import literal

CLIENTS = ("botocore", "aiobotocore", "aiohttp", "google", "gcsfs", "azure", "adlfs")
RETRIES = 5  # of a request whose server is away; DuckDB waits 0.1 s before the first, then 4 times as long each


@dataclass(frozen=True)
class File:
    """A data file.

    Args:
        name: Relative to the place.
        size: Bytes.
        written_at: Seconds since 1970.
    """

    name: str
    size: int
    written_at: float


class Storage(Protocol):
    """Where data files are. What cannot be reached raises `LakeError`."""

    @property
    def url(self) -> str:
        """The place as DuckDB names it, without a slash at its end."""

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """What DuckDB needs to reach it, in the database of a connection."""

    def make(self) -> None:
        """Make the place, where it can be missing."""

    def files(self, under: str = "") -> Iterator[File]:
        """Its Parquet files, or those below one of its folders."""

    def every_file(self, under: str = "") -> Iterator[File]:
        """All files below one of its folders, but for hidden ones: those are not written to their end."""

    def opened(self, name: str) -> AbstractContextManager[BufferedIOBase]:
        """Read a file from its beginning.

        Raises:
            FileNotFoundError: It is not there.
        """

    def put(self, name: str) -> AbstractContextManager[Path]:
        """A local path on which the block makes a file of this name; it is there whole when the block ends.

        Where the block raises, what is there stays as it is.
        """

    def file(self, name: str) -> File | None:
        """One file; None where it is not there."""

    def sizes(self, names: Iterable[str], under: str) -> dict[str, int]:
        """Bytes of those of these files that are there; all are below the folder `under`."""

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is none to remove."""


@dataclass(frozen=True)
class FolderStorage:
    """A local folder, or one that all machines mount at the same path."""

    folder: Path

    @property
    def url(self) -> str:
        return str(self.folder)

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Nothing."""

    def make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def files(self, under: str = "") -> Iterator[File]:
        return self._found(under, "*.parquet")

    def every_file(self, under: str = "") -> Iterator[File]:
        return (file for file in self._found(under, "*") if not _is_hidden(file.name))

    def _found(self, under: str, pattern: str) -> Iterator[File]:
        for path in (self.folder / under).rglob(pattern):
            found = self.file(path.relative_to(self.folder).as_posix()) if path.is_file() else None
            if found is not None:  # another process may remove it just now
                yield found

    def opened(self, name: str) -> AbstractContextManager[BufferedIOBase]:
        return (self.folder / name).open("rb")

    def put(self, name: str) -> AbstractContextManager[Path]:
        return atomic.written_file(self.folder / name)

    def file(self, name: str) -> File | None:
        try:
            found = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        return File(name, found.st_size, found.st_mtime)

    def sizes(self, names: Iterable[str], under: str) -> dict[str, int]:  # noqa: ARG002 - one by one costs 5 us
        return {name: found.size for name in names if (found := self.file(name)) is not None}

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class UrlStorage:
    """A place in a bucket.

    Args:
        url: Such as `s3://bucket/project/lake/data`. Who may use it comes from the environment that every S3 client
            reads: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL.
    """

    url: str

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        load_extension(con, "httpfs")
        con.execute(f"SET http_retries = {RETRIES}")
        fields = {
            "KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID"),
            "SECRET": os.environ.get("AWS_SECRET_ACCESS_KEY"),
            "SESSION_TOKEN": os.environ.get("AWS_SESSION_TOKEN"),
            "REGION": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        }
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if endpoint:
            scheme, _, host = endpoint.rstrip("/").rpartition("://")
            fields |= {"ENDPOINT": host, "URL_STYLE": "path", "USE_SSL": "false" if scheme == "http" else "true"}
        given = "".join(f", {key} {literal(value)}" for key, value in fields.items() if value)
        con.execute(f"CREATE OR REPLACE TEMPORARY SECRET lake_data (TYPE s3, SCOPE {literal(self.url)}{given})")

    def make(self) -> None:
        """Nothing: a bucket has no folders, and is made by whoever owns it."""

    def files(self, under: str = "") -> Iterator[File]:
        return (file for file in self.every_file(under) if file.name.endswith(".parquet"))

    def every_file(self, under: str = "") -> Iterator[File]:
        filesystem, root = self._at()
        with self._errors(), contextlib.suppress(FileNotFoundError):
            for path, info in filesystem.find(f"{root}/{under}".rstrip("/"), detail=True).items():
                name = str(PurePosixPath(path).relative_to(root))
                if not _is_hidden(name):
                    yield _file(name, info)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[BufferedIOBase]:
        filesystem, root = self._at()
        with self._errors():
            file = filesystem.open(f"{root}/{name}", "rb")
        with file:
            yield file

    @contextlib.contextmanager
    def put(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="ml_assets_") as folder:
            new = Path(folder) / PurePosixPath(name).name
            yield new
            filesystem, root = self._at()
            with self._errors():
                filesystem.put_file(str(new), f"{root}/{name}")

    def file(self, name: str) -> File | None:
        filesystem, root = self._at()
        with self._errors():
            try:
                return _file(name, filesystem.info(f"{root}/{name}"))
            except FileNotFoundError:
                return None

    def sizes(self, names: Iterable[str], under: str) -> dict[str, int]:
        there = {file.name: file.size for file in self.files(under)}
        return {name: there[name] for name in names if name in there}

    def remove(self, name: str) -> None:
        filesystem, root = self._at()
        with self._errors(), contextlib.suppress(FileNotFoundError):
            filesystem.rm_file(f"{root}/{name}")

    def _at(self) -> tuple[Any, str]:
        import fsspec

        try:
            filesystem, root = fsspec.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise LakeError(
                "The place of the lake's files cannot be used.",
                found=error,
                where={"place": self.url},
                fix="Write s3://BUCKET/FOLDER, and pip install 'ml-assets[s3]'.",
            ) from error
        filesystem.invalidate_cache()  # other machines write, too
        return filesystem, str(root)

    def _errors(self) -> AbstractContextManager[None]:
        return reaching("The place of the lake's files", self.url)


@contextlib.contextmanager
def reaching(what: str, url: str) -> Iterator[None]:
    """What a server of files raises is LakeBusy; that a file is not there is for who asks.

    Args:
        what: What is at the URL.
        url: The place.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        if not is_of_storage(error):
            raise
        raise LakeBusy(
            f"{what} cannot be reached.",
            found=error,
            where={"place": url},
            fix="Start its server, or set AWS_ENDPOINT_URL and the keys in the environment.",
        ) from error


def is_of_storage(error: Exception) -> bool:
    """Is it an error of a storage server, or of the system? Clients of S3 and others raise classes of their own."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in CLIENTS


def sha256(storage: Storage, name: str) -> str:
    """SHA-256 of a file, read from its beginning to its end.

    Raises:
        FileNotFoundError: It is not there.
    """
    with storage.opened(name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def storage_at(place: Path | str) -> Storage:
    """The place that is a folder or a URL."""
    if isinstance(place, Path) or "://" not in place:
        return FolderStorage(Path(place))
    return UrlStorage(place.rstrip("/"))


def storage_named(text: str) -> Storage:
    """The place that a person names: a URL, or a folder relative to where they are."""
    return storage_at(text if "://" in text else Path(text).expanduser().resolve())


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _file(name: str, info: dict[str, Any]) -> File:
    written = info.get("LastModified") or info.get("created") or info.get("mtime") or 0.0
    return File(name, int(info["size"]), float(written.timestamp() if hasattr(written, "timestamp") else written))
