"""`ml-assets open`: the page of anything."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path

import click

from ml_assets.cli.group import console
from ml_assets.cli.pipelines import complete_pipelines, reading
from ml_assets.errors import MLAssetsError, did_you_mean
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.pages import addresses
from ml_assets.pages.serving import served_at
from ml_assets.tables import drift, versions
from ml_assets.tables.data import RAW_DATA

WORDS = ("versions", "batches", "quarantine", "decisions", "alerts")
STATIC = "pages/index.html"


@click.command("open", short_help="The page of anything: home, pipeline, version, batch.")
@click.argument("what", nargs=-1, metavar="[PIPELINE [VERSION|BATCH|...]]", shell_complete=complete_pipelines)
@click.option("--print", "only_print", is_flag=True, help="Print the address and open nothing.")
def open_(what: tuple[str, ...], only_print: bool) -> None:
    """Open the page of anything in the browser: the home page, the `timeline`, a PIPELINE; of a pipeline a VERSION, two
    versions side by side, a BATCH, or its `versions`, `batches`, `quarantine`, `decisions` or `alerts`.

    Where no `ml-assets ui` runs, it is the file: the report of a version or batch, else the home page as it was written
    after the last run. $ML_ASSETS_PAGES_URL names pages elsewhere.
    """
    address, report = _page(what)
    paths = Paths.of()
    place = _served(paths, address) or _file(paths, report)
    console.print(place)
    if not only_print:
        webbrowser.open(place)


def _page(what: Sequence[str]) -> tuple[str, str | None]:
    """The address of a page, and the report that says most of it as a file."""
    if not what or what == ("timeline",):
        return addresses.TIMELINE if what else addresses.HOME, None
    pipeline, *more = what
    with reading(pipeline) as lake:
        if not more:
            return addresses.pipeline(pipeline), None
        if len(more) == 1 and more[0] in WORDS:
            return getattr(addresses, more[0])(pipeline), None
        if len(more) == 1 and more[0] in lake.batches(RAW_DATA.of(pipeline)):
            rows = drift.verdicts(lake, pipeline, more[0])
            return addresses.batch(pipeline, more[0]), rows[0]["html"] if rows else None
        return _version(lake, pipeline, more)


def _version(lake: Lake, pipeline: str, numbers: Sequence[str]) -> tuple[str, str | None]:
    known = [model.version for model in versions.versions(lake, pipeline)]
    for number in numbers:
        if number not in known:
            valid = [*WORDS, *known, *lake.batches(RAW_DATA.of(pipeline))]
            raise MLAssetsError(f"{pipeline} has no page {number!r}.", fix=did_you_mean(number, valid))
    if len(numbers) == 2:
        return addresses.compare(pipeline, *numbers), None
    if len(numbers) > 2:
        raise MLAssetsError("At most two versions are shown side by side.", found=", ".join(numbers))
    return addresses.version(pipeline, numbers[0]), f"{pipeline}/evaluation/{numbers[0]}.html"


def _served(paths: Paths, address: str) -> str | None:
    """The page where it is served; None where nobody serves this project's pages on this machine."""
    here = served_at(paths.data)
    return addresses.absolute(address) or (here and here + address)


def _file(paths: Paths, report: str | None) -> str:
    files = [*([paths.artifacts.reports.fetch(report)] if report else []), paths.data / STATIC]
    for file in files:
        if Path(file).is_file():
            return Path(file).as_uri()
    raise MLAssetsError(
        "No page is served, and none has been written yet.",
        where={"file": paths.data / STATIC},
        fix="Start `ml-assets ui`, in another terminal.",
    )
