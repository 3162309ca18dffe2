"""Files of one place to another: what a backup, its way back and a move have in common.

What is copied is named by a copy of the catalog, which is older than every file that it names: data files never change,
and bundles, releases and reports are written before a table names them. Each file is hashed while it is read, and read
back from where it was put. A target's ledger says what it has already, so that a copy that was killed goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from tempfile import TemporaryDirectory

from ml_assets.errors import LakeError
from ml_assets.lake.artifacts import MANIFEST
from ml_assets.lake.catalog import Catalog
from ml_assets.lake.catalog_copy import DATA, DataFile, Standing, data_files, standing
from ml_assets.lake.faults import lake_error
from ml_assets.lake.ledger import Ledger, LedgerFile
from ml_assets.lake.storage import File, Storage, is_of_storage, sha256

ARTIFACTS = ("bundles", "releases", "reports")
LOG = "serving"  # of servers: a segment that one writes stays with it, and is shipped by it
CATALOG_FILE = "lake/catalog.sqlite"
# Held while files are copied: maintenance removes none meanwhile.
FILES_LOCK = "files"
THREADS = 8  # a request to an S3 server takes 10 ms and more
CHUNK = 1 << 20


@dataclass(frozen=True)
class LakeFiles:
    """A lake and its files.

    Args:
        catalog: Where DuckLake keeps what it knows.
        files: The folder or URL of all files; below it `lake/data`, `bundles`, `releases` and `reports`.
    """

    catalog: Catalog
    files: Storage


@dataclass(frozen=True)
class Progress:
    """How far a copy, or a check, has come."""

    files: int
    all_files: int
    bytes: int
    all_bytes: int


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Damaged:
    """A file of the source that is not what the catalog or the ledger says.

    Args:
        name: Relative to the place.
        what: What is wrong with it.
    """

    name: str
    what: str


@dataclass
class Copied:
    """What was done.

    Args:
        files: Copied.
        bytes: Their bytes.
        unchanged: Files that the target had.
        unchanged_bytes: Their bytes.
        damaged: What could not be copied; an earlier copy of it stays.
        names: All that belongs to the copy.
    """

    files: int = 0
    bytes: int = 0
    unchanged: int = 0
    unchanged_bytes: int = 0
    damaged: list[Damaged] = field(default_factory=list)
    names: set[str] = field(default_factory=set, repr=False)


@dataclass(frozen=True)
class CatalogExport:
    """A copy of a catalog, and what it says."""

    file: Path
    standing: Standing
    files: list[DataFile]


def exported(catalog: Catalog, folder: Path, name: str = "catalog.sqlite") -> CatalogExport | None:
    """A copy of a catalog in a folder; None where there is none."""
    file = folder / name
    if not catalog.export(file):
        return None
    return CatalogExport(file, standing(file), data_files(file))


def copy_files(
    source: Storage,
    target: Storage,
    export: CatalogExport,
    known: Ledger,
    ledger: Ledger,
    tell: Tell,
    folders: Sequence[str] = ARTIFACTS,
) -> Copied:
    """Copy every file that a catalog names, and those of other folders, unless the target has them.

    Args:
        source: Where they are.
        target: Where they go.
        export: The catalog that names them.
        known: The ledger of the source.
        ledger: That of the target; it is kept up to date.
        tell: Told of each file.
        folders: The other folders.
    """
    done = Copied()
    there = {file.name: file for file in _listed(source, folders)}
    has = {file.name: file.size for file in _listed(target, folders)}
    files = []
    for name, size in {file.name: file.size for file in export.files}.items():
        file = there.get(name)
        if file is None or file.size != size:
            done.damaged.append(Damaged(name, "is lost" if file is None else f"has {file.size:,} of {size:,} bytes"))
        else:
            files.append(file)
    files += [file for file in there.values() if not file.name.startswith(DATA)]
    done.names |= {file.name for file in files} | {file.name for file in done.damaged}
    missing = []
    for file in files:
        entry = ledger.files.get(file.name)
        if entry is not None and entry.is_of(file) and has.get(file.name) == file.size:
            done.unchanged, done.unchanged_bytes = done.unchanged + 1, done.unchanged_bytes + file.size
        else:
            missing.append(file)
    expected = {name: entry.sha256 for name, entry in known.files.items() if name in there and entry.is_of(there[name])}
    expected |= _in_manifests(source, missing)
    for name, entry in _copied(source, target, missing, expected, tell, done):
        ledger.add(name, entry)
    return done


def restore_files(backup: Storage, target: Storage, export: CatalogExport, ledger: Ledger, tell: Tell) -> Copied:
    """Put back from a backup every file of a lake that is lost or has other bytes.

    A report that is there is left as it is, and so is a bundle that was made again since.

    Args:
        backup: Where the copies are.
        target: Where the lake's files are.
        export: The catalog that names them.
        ledger: That of the backup.
        tell: Told of each file.
    """
    done = Copied()
    has = {file.name: file.size for file in _listed(target)}
    copies = {file.name: file for file in _listed(backup) if file.name in ledger.files}
    needed = {file.name for file in export.files}
    done.damaged += [Damaged(name, "is lost, and not in the backup") for name in sorted(needed - {*has, *copies})]
    files = [file for name, file in copies.items() if name in needed or not name.startswith(DATA)]
    with ThreadPoolExecutor(THREADS) as pool:
        promised = {name: entry.sha256 for name, entry in ledger.files.items() if name.startswith(DATA)}
        promised |= _in_manifests(target, files)
        wrong = pool.map(lambda file: file.name not in has or _is_other(target, file, promised.get(file.name)), files)
        missing = [file for file, is_wrong in zip(files, wrong, strict=True) if is_wrong]
    done.unchanged = len(files) - len(missing)
    done.unchanged_bytes = sum(file.size for file in files) - sum(file.size for file in missing)
    expected = {name: entry.sha256 for name, entry in ledger.files.items()}
    for _ in _copied(backup, target, missing, expected, tell, done):
        pass
    return done


def _is_other(target: Storage, file: File, expected: str | None) -> bool:
    """Has a file that never changes other bytes than it should?"""
    return expected is not None and sha256(target, file.name) != expected


def _in_manifests(place: Storage, files: Iterable[File]) -> dict[str, str]:
    """SHA-256 of files of bundles and releases, as the manifests of their folders say; those never change."""
    folders = {"/".join(file.name.split("/")[:3]) for file in files if file.name.startswith(("bundles/", "releases/"))}
    found: dict[str, str] = {}
    for folder in sorted(folders):
        unknown = contextlib.suppress(FileNotFoundError, ValueError, KeyError, AttributeError, TypeError)
        with unknown, place.opened(f"{folder}/{MANIFEST}") as file:
            found |= {f"{folder}/{name}": digest for name, digest in json.loads(file.read())["files"].items()}
    return found


def put_file(target: Storage, name: str, file: Path) -> LedgerFile:
    """Put a local file at a place, and read it back."""
    with target.put(name) as new:
        shutil.copyfile(file, new)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    _read_back(target, name, digest)
    return LedgerFile(file.stat().st_size, digest, file.stat().st_mtime)


def fetched(source: Storage, name: str, file: Path) -> bool:
    """Copy a file of a place into a local one; False where there is none."""
    try:
        with source.opened(name) as opened, file.open("wb") as new:
            shutil.copyfileobj(opened, new, CHUNK)
    except FileNotFoundError:
        return False
    return True


def remove_others(target: Storage, names: Collection[str]) -> int:
    """Remove the data files of a place that are not of these names; returns how many."""
    others = [file.name for file in target.files(DATA) if file.name not in names]
    for name in others:
        target.remove(name)
    return len(others)


def check_apart(one: Storage, other: Storage) -> None:
    """Refuse two places of which one is within the other."""
    urls = sorted(f"{place.url}/" for place in (one, other))
    if urls[1].startswith(urls[0]):
        raise LakeError("The files are there already.", where={"place": other.url}, fix="Name another place.")


def temporary_folder() -> TemporaryDirectory[str]:
    """A folder for copies of catalogs, which are read there without touching the lake."""
    return TemporaryDirectory(prefix="ml_assets_")


def _listed(place: Storage, folders: Sequence[str] = ARTIFACTS) -> Iterable[File]:
    for folder in (DATA, *folders):
        yield from place.every_file(folder)


def _copied(
    source: Storage, target: Storage, files: list[File], expected: Mapping[str, str], tell: Tell, done: Copied
) -> Iterator[tuple[str, LedgerFile]]:
    """Copy files and count them; each one's name, with what is known of it then."""
    all_bytes, seen = sum(file.size for file in files), 0
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            results = pool.map(lambda file: _copy(source, target, file, expected.get(file.name)), files)
            for number, (file, result) in enumerate(zip(files, results, strict=True), 1):
                seen += file.size
                tell(Progress(number, len(files), seen, all_bytes))
                if isinstance(result, Damaged):
                    done.damaged.append(result)
                elif result is not None:
                    done.files, done.bytes = done.files + 1, done.bytes + file.size
                    yield file.name, result
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _copy(source: Storage, target: Storage, file: File, expected: str | None) -> LedgerFile | Damaged | None:
    """None for a file that nothing names, and that is gone meanwhile or that a server writes."""
    try:
        with source.opened(file.name) as opened, target.put(file.name) as new:
            digest, size = _written(opened, new)
            if size != file.size:
                raise _Refused(f"has {size:,} of {file.size:,} bytes")
            if expected not in (None, digest):
                raise _Refused("has other bytes than when its hash was taken")
        _read_back(target, file.name, digest)
    except _Refused as error:
        return None if file.name.startswith(LOG) else Damaged(file.name, str(error))
    except FileNotFoundError:
        return Damaged(file.name, "is lost") if file.name.startswith(DATA) else None
    except Exception as error:
        if isinstance(error, LakeError) or not is_of_storage(error):
            raise
        raise lake_error(error, "A file cannot be copied.", file=file.name, source=source.url, to=target.url) from error
    return LedgerFile(file.size, digest, file.written_at)


class _Refused(Exception):
    """Bytes that are not those of the file must not take the place of those that were."""


def _written(opened: BufferedIOBase, new: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with new.open("wb") as out:
        while block := opened.read(CHUNK):
            digest.update(block)
            size += len(block)
            out.write(block)
    return digest.hexdigest(), size


def _read_back(target: Storage, name: str, digest: str) -> None:
    if sha256(target, name) != digest:
        raise LakeError(
            "A copy has other bytes than what was copied.",
            where={"file": name, "place": target.url},
            fix="Check the disk or the server of the copy, then run the same command again.",
        )
