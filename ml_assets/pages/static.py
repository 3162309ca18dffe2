"""The pages as files, for a project without `ml-assets ui`: data/pages/index.html, written after each run.

A run starts this as a process of its own at its end (resources.py), so that it neither waits for it nor fails with it:
`python -m ml_assets.pages.static ROOT DATA`. Where several runs end together, the pages are written once.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ml_assets.atomic import write_text
from ml_assets.errors import MLAssetsError
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.pages import addresses
from ml_assets.pages.keeper import Home
from ml_assets.pages.render import STYLE, file_of, style
from ml_assets.pages.views import Views
from ml_assets.tables import versions

LEAST_S = 3.0  # between two writes
WAIT_S = 60.0
STARTED = ".started"  # when the last write began
Page = Callable[[Lake], str]


def write(paths: Paths) -> Path:
    """Write the pages that are not as new as the lake; returns the folder.

    Home and timeline are always written, those of a pipeline where it has written since.

    Raises:
        MLAssetsError: The lake cannot be read.
    """
    folder, views = paths.data / "pages", Views(paths, written=())
    found = views.keeper.home()
    pipelines = [one.pipeline for one in found.overviews if one.snapshot >= 0]
    of_each = {name: _numbers(paths, name) for name in pipelines if not _is_new(folder, found, name)}
    numbers = {name: of_each.get(name) or _written_numbers(folder, name) for name in pipelines}
    views.written = frozenset(address for name in pipelines for address in _addresses(name, numbers[name])) | {
        addresses.HOME,
        addresses.TIMELINE,
        *(addresses.pipeline(one.pipeline) for one in found.overviews),
    }
    write_text(folder / STYLE.strip("/"), style())
    for one in found.overviews:
        _put(folder, addresses.pipeline(one.pipeline), views.pipeline(found, one.pipeline))
    if of_each:
        with Lake.of(paths, read_only=True) as lake, lake.one_snapshot():
            for name, known in of_each.items():
                for address, page in _pages(views, name, known).items():
                    _put(folder, address, _made(views, address, page, lake))
    _put(folder, addresses.TIMELINE, views.timeline(found))
    _put(folder, addresses.HOME, views.home(found))
    return folder


def _made(views: Views, address: str, page: Page, lake: Lake) -> str:
    """A page; where its data cannot be read, one that says so, so that the others are written."""
    try:
        return page(lake)
    except MLAssetsError as error:
        return views.problem(address, str(error))


def _is_new(folder: Path, found: Home, name: str) -> bool:
    """Were the pages of a pipeline written from what is known of it now?"""
    read_at = next(one.read_at for one in found.overviews if one.pipeline == name)
    with contextlib.suppress(OSError):
        written = (folder / file_of(addresses.alerts(name))).stat().st_mtime
        return written > read_at.replace(tzinfo=dt.UTC).timestamp()
    return False


def _numbers(paths: Paths, name: str) -> list[str]:
    with Lake.of(paths, read_only=True) as lake:
        return [one.version for one in versions.versions(lake, name)]


def _written_numbers(folder: Path, name: str) -> list[str]:
    return [file.stem for file in (folder / file_of(addresses.versions(name))).with_suffix("").glob("*.html")]


def _pages(views: Views, name: str, numbers: list[str]) -> dict[str, Page]:
    return {
        addresses.versions(name): lambda lake: views.versions(lake, name),
        addresses.batches(name): lambda lake: views.batches(lake, name),
        addresses.quarantine(name): lambda lake: views.quarantine(lake, name),
        addresses.decisions(name): lambda lake: views.decisions(lake, name),
        addresses.alerts(name): lambda lake: views.alerts(lake, name),
    } | {addresses.version(name, one): _version(views, name, one) for one in numbers}


def _version(views: Views, name: str, number: str) -> Page:
    return lambda lake: views.version(lake, name, number)


def _addresses(name: str, numbers: list[str]) -> list[str]:
    below = (addresses.versions, addresses.batches, addresses.quarantine, addresses.decisions, addresses.alerts)
    return [*(address(name) for address in below), *(addresses.version(name, one) for one in numbers)]


def _put(folder: Path, address: str, text: str) -> None:
    write_text(folder / file_of(address), text)


def main(root: str, data: str) -> None:
    """Write the pages once, after all who came before; what fails is a line in data/logs/pages.log."""
    with contextlib.suppress(OSError):
        os.nice(10)
    paths, requested = Paths(Path(root), Path(data)), time.time()
    started = paths.data / "pages" / STARTED
    try:
        with paths.catalog.lock("pages", WAIT_S, "writing the pages"):
            before = started.stat().st_mtime if started.exists() else 0.0
            if before > requested:  # another one began after this run had ended
                return
            time.sleep(max(0.0, min(LEAST_S, before + LEAST_S - time.time())))
            write_text(started, "")
            write(paths)
    except (MLAssetsError, OSError) as error:
        sys.exit(f"The pages are not written: {error}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
