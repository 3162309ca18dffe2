"""Keeps the overview of each pipeline: it is read again when the pipeline has written, and kept as a file.

The files are copies of what the lake says. They may be removed at any time, and are read at the start, so that the
first page after it need not wait for a hundred pipelines to be read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ml_assets import attention
from ml_assets.atomic import short_hash, write_text
from ml_assets.attention import Need
from ml_assets.errors import MLAssetsError
from ml_assets.home import home_of
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.pages import addresses, overview
from ml_assets.pages.overview import Overview
from ml_assets.project import Project, find_project, pipelines
from ml_assets.tables import versions
from ml_assets.tables.arrivals import ARRIVALS

# Of the files: what other code has read is read again.
FORMAT = short_hash("".join(Path(module.__file__ or "").read_text("utf-8") for module in (attention, overview)))
OLD_S = 3600  # what is open may also end by the clock
ALL_S = 1e9  # as a time for reading: all of it
FEW = 3  # changed pipelines that a page waits for; more are left to `catch_up`
VALIDATED = "validated.json"
VALIDATE_S = 300
log = logging.getLogger("ml_assets.pages")


@dataclass(frozen=True)
class Home:
    """All that the home page is made from.

    Args:
        needs: What needs attention, the most urgent first.
        overviews: Of each pipeline, by name.
        unread: Pipelines that are still to be read.
        read_at: When, UTC.
    """

    needs: list[Need]
    overviews: list[Overview]
    unread: list[str]
    read_at: Any


@dataclass
class Keeper:
    """The overviews of a project's pipelines.

    Args:
        paths: Folders of the project.
    """

    paths: Paths
    _known: dict[str, Overview] = field(default_factory=dict)
    _newest: dict[str, int] = field(default_factory=dict)
    _seen: int = -1
    _declared: tuple[str, dict[str, dict[str, Any]]] = ("", {})
    _unread: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._known = {one.pipeline: one for one in map(_load, sorted(self.folder.glob("*.overview"))) if one}

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self.paths.data / "cache" / "pages"

    def catch_up(self, budget_s: float) -> bool:
        """Read for about so many seconds what has changed, at least one pipeline; is everything read?"""
        with self._lock:
            return self._refresh(budget_s)

    def home(self, budget_s: float = ALL_S) -> Home:
        """Everything as it is now, or where that would take longer, as it was read last.

        Args:
            budget_s: How long reading may take; with a limit, no more is read than `FEW` pipelines.

        Raises:
            LakeError: The lake's catalog is lost or cannot be read.
        """
        if self._lock.acquire(timeout=budget_s):  # else another thread is reading
            try:
                self._refresh(budget_s, None if budget_s == ALL_S else FEW)
            finally:
                self._lock.release()
        known, unread = dict(self._known), set(self._unread)
        found = [overview.with_needs(one, attention.stale(self.paths, name)) for name, one in known.items()]
        broken = self._broken()
        found += [overview.unseen(name) for name in {*self.declared(), *broken} - {*known, *unread}]
        found = [overview.with_needs(one, broken.get(one.pipeline, ())) for one in found]
        needs = [need for one in found for need in one.needs]
        needs += attention.of_installation(home_of(self.paths))
        by_name = sorted(found, key=lambda one: one.pipeline)
        return Home(attention.ordered(needs), by_name, sorted(unread), versions.now())

    def declared(self) -> dict[str, dict[str, Any]]:
        """Pipeline -> its attributes in the YAML, read again when a file has changed."""
        project = _project(self.paths)
        if project is None:
            return {}
        stamp = _stamp(project, ("*.yaml",))
        if self._declared[0] != stamp:
            self._declared = stamp, pipelines(project)
        return self._declared[1]

    def written(self) -> set[str]:
        """Pipelines that have written something."""
        return set(self._newest)

    def _refresh(self, budget_s: float, few: int | None = None) -> bool:
        """Read what has changed, or nothing where that is not few; is everything read?"""
        newest = self.paths.catalog.newest_snapshots(self._seen)
        self._newest |= newest
        self._seen = max([self._seen, *newest.values()])
        changed = {name for name, snapshot in self._newest.items() if self._is_old(name, snapshot)}
        if changed and (few is None or len(changed) <= few):
            declared, end = self.declared(), time.monotonic() + budget_s
            with Lake.of(self.paths, read_only=True) as lake:
                for name in sorted(changed, key=lambda name: (name in self._known, name)):
                    self._read(lake, name, declared.get(name, {}))
                    changed = changed - {name}
                    if time.monotonic() > end:
                        break
        self._unread = changed - set(self._known)
        return not changed

    def _is_old(self, name: str, snapshot: int) -> bool:
        known = self._known.get(name)
        return known is None or known.snapshot != snapshot or (versions.now() - known.read_at).total_seconds() > OLD_S

    def _read(self, lake: Lake, name: str, declared: Mapping[str, Any]) -> None:
        if not lake.exists(ARRIVALS.of(name)):  # a schema of somebody's own
            self._newest.pop(name, None)
            return
        found = self._known[name] = overview.read(lake, name, self._newest[name], declared)
        with contextlib.suppress(OSError):
            write_text(self._file(name), FORMAT + "\n" + msgspec.json.encode(found).decode())

    def _file(self, pipeline: str) -> Path:
        return self.folder / f"{short_hash(pipeline)}.overview"

    # -- what only the definitions tell --------------------------------------------------------------------------------

    def validate(self) -> None:
        """Let `ml-assets validate` say which pipelines cannot be loaded, where their files have changed since."""
        project = _project(self.paths)
        if project is None or self._validated().get("stamp") == _stamp(project):
            return
        stamp, command = _stamp(project), [sys.executable, "-m", "ml_assets.cli", "validate", "--json"]
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
            done = subprocess.run(  # noqa: S603 - our own command
                command, cwd=self.paths.root, capture_output=True, text=True, timeout=VALIDATE_S, check=False
            )
            found = {one["pipeline"]: one["text"] for one in json.loads(done.stdout) if not one["ok"]}
            write_text(self.folder / VALIDATED, json.dumps({"stamp": stamp, "broken": found}))

    def _validated(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.folder / VALIDATED).read_text(encoding="utf-8")))
        return {}

    def _broken(self) -> dict[str, list[Need]]:
        return {
            name: [
                Need(
                    name,
                    "broken",
                    f"the pipeline cannot be loaded, nothing of it runs: {text}",
                    "correct it; `ml-assets validate` checks it",
                    addresses.pipeline(name),
                )
            ]
            for name, text in self._validated().get("broken", {}).items()
        }


def _load(file: Path) -> Overview | None:
    """A file of this version; None where it is of another one, or damaged."""
    with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError):
        head, _, text = file.read_text(encoding="utf-8").partition("\n")
        return msgspec.json.decode(text, type=Overview) if head == FORMAT else None
    return None


def _project(paths: Paths) -> Project | None:
    with contextlib.suppress(MLAssetsError):
        return find_project(paths.root)
    return None


def _stamp(project: Project, patterns: tuple[str, ...] = ("*.yaml", "*.sql", "*.py")) -> str:
    """Tells one state of the definitions' files from another."""
    files = sorted(file for pattern in patterns for file in project.defs.rglob(pattern))
    with contextlib.suppress(OSError):
        return short_hash(json.dumps([(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]))
    return ""
