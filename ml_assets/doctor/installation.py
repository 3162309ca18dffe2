"""The installation: Python, packages, DuckDB's extensions, disk, files that others may read, the UI's port."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ml_assets.doctor.finding import Finding, ok, problem, warning
from ml_assets.home import home_of
from ml_assets.lake.database import EXTENSIONS
from ml_assets.lake.paths import Paths

PACKAGE = "ml-assets"
LEAST, LITTLE = 1, 5  # GiB that are left
DEVELOPMENT = "dev"
GIB = 2**30


def python() -> Iterator[Finding]:
    """Is it a Python that the package is made for?"""
    version, required = platform.python_version(), metadata.metadata(PACKAGE)["Requires-Python"]
    if SpecifierSet(required).contains(version, prereleases=True):
        yield ok("python", f"{version}, ml_assets {metadata.version(PACKAGE)}")
    else:
        yield problem("python", f"{version}; ml_assets needs {required}", "make an environment with another Python")


def packages() -> Iterator[Finding]:
    """Is every library there, in a version that the package takes?"""
    required = [Requirement(line) for line in metadata.requires(PACKAGE) or ()]
    base = [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [text for one in base if (text := _wrong(one))]
    for text in wrong:
        yield problem("packages", text, f"pip install --upgrade {PACKAGE}")
    if not wrong:
        yield ok("packages", f"{len(base)} libraries as required")
    for extra in metadata.metadata(PACKAGE).get_all("Provides-Extra") or ():
        parts = [one for one in required if one not in base and one.marker and one.marker.evaluate({"extra": extra})]
        missing = [text for one in parts if (text := _wrong(one))]
        if extra == DEVELOPMENT or len(missing) == len(parts):
            continue  # it is not installed on purpose
        if missing:
            yield warning("packages", f"extra {extra}: {'; '.join(missing)}", f"pip install '{PACKAGE}[{extra}]'")
        else:
            yield ok("packages", f"extra {extra} is installed")


def _wrong(required: Requirement) -> str | None:
    """What is wrong with an installed library; None where nothing is."""
    try:
        found = metadata.version(required.name)
    except metadata.PackageNotFoundError:
        return f"{required.name} is missing"
    if required.specifier.contains(found, prereleases=True):
        return None
    return f"{required.name} is {found}; {required.specifier} is required"


def extensions() -> Iterator[Finding]:
    """Have DuckDB's extensions the version of DuckDB, to the last digit?"""
    duckdb = metadata.version("duckdb")
    for name in EXTENSIONS:
        wheel = f"duckdb-extension-{name.replace('_', '-')}"
        try:
            found = metadata.version(wheel)
        except metadata.PackageNotFoundError:
            yield warning("duckdb", f"{wheel} is not installed: it is downloaded", f"pip install {wheel}=={duckdb}")
            continue
        if found != duckdb:
            text = f"{wheel} is {found}, DuckDB is {duckdb}"
            yield problem("duckdb", text, f"pip install {wheel}=={duckdb}")
            return
    yield ok("duckdb", f"{duckdb} with {', '.join(EXTENSIONS)}")


def disk(paths: Paths) -> Iterator[Finding]:
    """Is there room for what is written, and for what is written meanwhile?"""
    seen: set[int] = set()
    for name, folder in (("data", _existing(paths.data)), ("temporary files", Path(tempfile.gettempdir()))):
        device = folder.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(folder).free / GIB
        text = f"{free:,.1f} GiB free for {name} ({folder})"
        fix = "free disk space; `ml-assets lake maintenance` removes old states of the lake"
        yield ok("disk", text) if free > LITTLE else (problem if free < LEAST else warning)("disk", text, fix)


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())


def files(paths: Paths) -> Iterator[Finding]:
    """May this user write what it must, and others not read what holds secrets?"""
    needed = [folder for folder in (paths.data, paths.lake, paths.reports, home_of(paths)) if folder.exists()]
    locked = [folder for folder in needed if not os.access(folder, os.W_OK)]
    for folder in locked:
        yield problem("files", f"this user may not write {folder}", f"chown -R $USER {folder}")
    if not locked:
        yield ok("files", "this user may write the data folder")
    env = paths.root / ".env"
    private = [home_of(paths), paths.data / "logs", *([env] if _holds_secrets(env) else [])]
    for one in private:
        if one.exists() and one.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            mode = "go-rwx"
            yield warning("files", f"{one} may hold secrets, and others may read it", f"chmod {mode} {one}")


def _holds_secrets(env: Path) -> bool:
    lines = env.read_text(encoding="utf-8").splitlines() if env.is_file() else []
    return any("=" in line and not line.lstrip().startswith(("#", "DAGSTER_HOME")) for line in lines)


def port(number: int, is_daemon_up: bool) -> Iterable[Finding]:
    """Does something else hold the port of the UI?"""
    with socket.socket() as client:
        client.settimeout(1)
        is_taken = client.connect_ex(("127.0.0.1", number)) == 0
    if is_taken and not is_daemon_up:
        text = f"another program holds port {number}"
        return [warning("ui", text, f"end it, or choose another: `ml-assets ui --port {number + 10}`")]
    return [ok("ui", f"answers at http://127.0.0.1:{number}" if is_taken else f"port {number} is free")]
