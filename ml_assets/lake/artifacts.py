"""Where folders and files beside the lake are kept that another machine needs: bundles, releases, reports, searches.

One interface, two kinds: a local folder, and whatever fsspec reaches by a URL. What is put appears whole or not at all,
and is never changed afterwards; a report may be replaced by a newer one of its name.
Does not belong here: what one process alone needs (cursors, spooled copies of sources).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ml_assets import atomic
from ml_assets.errors import LakeError
from ml_assets.lake.storage import is_of_storage

# In a folder at a URL it is written last: before it is there, the folder does not exist.
MANIFEST = "manifest.json"


class Artifacts(Protocol):
    """Folders and files by name; a name is relative, with `/` between its parts.

    Every method raises `LakeError` where the place cannot be reached, written or read.
    """

    def put(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """A local path on which the block makes a folder or a file of this name; it is there whole when the block ends.

        Where the block raises nothing is left. A folder that exists is refused; a file is replaced.
        A folder has a `manifest.json` that names each of its files with its SHA-256; it gets one where it has none.
        """

    def fetch(self, name: str) -> Path:
        """A local path to read a folder or file at: its own, or that of a copy.

        A copy of a folder is made once, and only with files that have the SHA-256 of the folder's manifest. Where there
        is nothing of the name the path has nothing either: who opens it says what it misses.
        """

    def exists(self, name: str) -> bool:
        """Is there a whole folder, or a file, of this name?"""

    def names(self, prefix: str = "") -> list[str]:
        """What is in a folder of the store: names of its folders and files, in order; none where there is none."""

    def remove(self, name: str) -> None:
        """Remove a folder or a file; nothing happens where there is none."""

    def link(self, name: str) -> str:
        """Where a person finds it: an absolute path, or a URL."""

    def under(self, name: str) -> Artifacts:
        """The part of the store below a name."""


@dataclass(frozen=True)
class FolderArtifacts:
    """Artifacts in a local folder.

    Args:
        folder: Made when something is put.
    """

    folder: Path

    @contextlib.contextmanager
    def put(self, name: str) -> Iterator[Path]:
        target = self.fetch(name)
        with _errors("written", target), _workplace(target) as new:
            yield new
            if new.is_dir():
                if target.exists():
                    raise LakeError("A folder of artifacts is never written twice.", where={"folder": target})
                write_manifest(new)
            atomic.move(new, target)

    def fetch(self, name: str) -> Path:
        return self.folder / _checked(name)

    def exists(self, name: str) -> bool:
        return self.fetch(name).exists()

    def names(self, prefix: str = "") -> list[str]:
        folder = self.fetch(prefix) if prefix else self.folder
        with _errors("listed", folder), contextlib.suppress(FileNotFoundError):
            return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        return []

    def remove(self, name: str) -> None:
        target = self.fetch(name)
        with _errors("removed", target):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def link(self, name: str) -> str:
        return str(self.fetch(name))

    def under(self, name: str) -> Artifacts:
        return FolderArtifacts(self.fetch(name))


@dataclass(frozen=True)
class UrlArtifacts:
    """Artifacts at a URL that fsspec knows, such as `s3://bucket/artifacts`.

    Args:
        url: Without a slash at its end.
        cache: A local folder for copies; any part of it may be removed at any time.
    """

    url: str
    cache: Path

    @contextlib.contextmanager
    def put(self, name: str) -> Iterator[Path]:
        url = self.link(name)
        with _errors("written", url), _workplace(self.cache / "new" / _checked(name)) as new:
            yield new
            if not new.is_dir():
                self._upload(new, url)
                return
            if self.exists(name):
                raise LakeError("A folder of artifacts is never written twice.", where={"folder": url})
            manifest = write_manifest(new)
            self.remove(name)  # what was left of an upload that broke off
            for file in manifest:
                self._upload(new / file, f"{url}/{file}")
            self._upload(new / MANIFEST, f"{url}/{MANIFEST}")

    def fetch(self, name: str) -> Path:
        url, target = self.link(name), self.cache / "copies" / atomic.short_hash(self.url, 12)
        target /= _checked(name)
        with _errors("read", url):
            filesystem, path = self._at(url)
            if not filesystem.isdir(path):
                if filesystem.exists(path):
                    with atomic.written_file(target) as new:
                        filesystem.get_file(path, str(new))
                return target
            if not filesystem.exists(f"{path}/{MANIFEST}"):
                return target
            text = filesystem.cat_file(f"{path}/{MANIFEST}")
            if target.is_dir() and (target / MANIFEST).read_bytes() == text and not _changed(target, _files(text)):
                return target
            with _workplace(target) as new:
                new.mkdir()
                for file in _files(text):
                    (new / file).parent.mkdir(parents=True, exist_ok=True)
                    filesystem.get_file(f"{path}/{file}", str(new / file))
                (new / MANIFEST).write_bytes(text)
                changed = _changed(new, _files(text))
                if changed:
                    raise LakeError(
                        "A file is not the one that was put.",
                        where={"file": f"{url}/{changed}"},
                        fix="Put it back: `ml-assets lake recover --from BACKUP`.",
                    )
                shutil.rmtree(target, ignore_errors=True)
                atomic.move(new, target)
        return target

    def exists(self, name: str) -> bool:
        with _errors("read", self.link(name)):
            filesystem, path = self._at(self.link(name))
            return bool(filesystem.exists(f"{path}/{MANIFEST}") or filesystem.isfile(path))

    def names(self, prefix: str = "") -> list[str]:
        url = self.link(prefix) if prefix else self.url
        with _errors("listed", url), contextlib.suppress(FileNotFoundError):
            filesystem, path = self._at(url)
            found = {str(one).rstrip("/") for one in filesystem.ls(path, detail=False)}
            return sorted(PurePosixPath(one).name for one in found - {path})  # some servers list an empty folder itself
        return []

    def remove(self, name: str) -> None:
        with _errors("removed", self.link(name)), contextlib.suppress(FileNotFoundError):
            filesystem, path = self._at(self.link(name))
            if filesystem.exists(f"{path}/{MANIFEST}"):
                filesystem.rm_file(f"{path}/{MANIFEST}")  # first: half a folder is none
            filesystem.rm(path, recursive=True)

    def link(self, name: str) -> str:
        return f"{self.url}/{_checked(name)}"

    def under(self, name: str) -> Artifacts:
        return UrlArtifacts(self.link(name), self.cache)

    def _at(self, url: str) -> tuple[Any, str]:
        import fsspec

        filesystem, path = fsspec.url_to_fs(url)
        filesystem.invalidate_cache()  # another machine may have put something since
        return filesystem, str(path)

    def _upload(self, file: Path, url: str) -> None:
        filesystem, path = self._at(url)
        filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        filesystem.put_file(str(file), path)


def artifacts_at(place: Path | str, cache: Path) -> Artifacts:
    """The artifacts in a folder, or at a URL with copies in the cache."""
    if isinstance(place, Path) or "://" not in place:
        return FolderArtifacts(Path(place))
    return UrlArtifacts(place.rstrip("/"), cache)


@dataclass(frozen=True)
class Stores:
    """The artifacts of a project, by kind: names begin with the pipeline.

    Args:
        bundles: Models as a training leaves them.
        releases: Bundles with all that a server needs.
        reports: Pages for people.
        searches: Trials of searches that are not over.
    """

    bundles: Artifacts
    releases: Artifacts
    reports: Artifacts
    searches: Artifacts

    @classmethod
    def of(cls, store: Artifacts) -> Stores:
        """The parts of one store."""
        return cls(*(store.under(kind) for kind in ("bundles", "releases", "reports", "searches")))


def write_manifest(folder: Path) -> list[str]:
    """Names of a folder's files, the manifest not among them; writes the manifest where the folder has none."""
    found = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    names = [name for name in found if name != MANIFEST]
    if MANIFEST not in found:
        files = {name: _sha256(folder / name) for name in names}
        (folder / MANIFEST).write_text(json.dumps({"format": 1, "files": files}, indent=2))
    return names


@contextlib.contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """A path of the target's name, in a hidden folder beside it of which nothing stays."""
    place = target.with_name(f".{target.name}.new")
    shutil.rmtree(place, ignore_errors=True)  # of a process that was killed
    place.mkdir(parents=True)
    try:
        yield place / target.name
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _errors(done: str, where: Path | str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, LakeError) or not is_of_storage(error):
            raise
        raise LakeError(f"An artifact cannot be {done}.", found=error, where={"place": where}) from error


def _checked(name: str) -> str:
    """A name that stays in the store."""
    parts = PurePosixPath(name)
    if not parts.parts or parts.is_absolute() or ".." in parts.parts:
        raise LakeError("A name of an artifact is relative and stays in its store.", found=name)
    return parts.as_posix()


def _files(manifest: bytes) -> dict[str, str]:
    """File name -> SHA-256."""
    try:
        found = json.loads(manifest)["files"]
        return {_checked(name): str(digest) for name, digest in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LakeError(
            "The manifest of an artifact cannot be read.",
            found=f"{type(error).__name__}",
            fix="Remove its folder, then put it back: `ml-assets lake recover --from BACKUP`.",
        ) from error


def _changed(folder: Path, files: dict[str, str]) -> str | None:
    """The first file that is missing or has another SHA-256."""
    for name, digest in files.items():
        if not (folder / name).is_file() or _sha256(folder / name) != digest:
            return name
    return None


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
