"""The lake: can it be opened, are its files whole, is its maintenance done, do the champions' releases load?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from ml_assets.doctor.finding import Finding, ok, problem, warning
from ml_assets.errors import MLAssetsError
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.ml import manifest
from ml_assets.tables import maintenance, pipelines, releases, versions

AHEAD = dt.timedelta(minutes=5)
OLD = dt.timedelta(days=1)
MAINTAINED = dt.timedelta(days=8)
TRAIN = "`ml-assets train {0}` packs a new version; or put the folder back: `ml-assets lake recover --from BACKUP`"


def lake(paths: Paths) -> Iterator[Finding]:
    """Everything that the lake itself tells; `ml-assets lake recover` and errors of their own say the rest."""
    if not paths.catalog.exists():
        yield warning("lake", f"there is none yet in {paths.lake}", "put a file into the source folder: `ml-assets ui`")
        return
    with Lake.of(paths, read_only=True) as opened:
        names, newest = pipelines.names(opened), opened.snapshot()
        size = _size(opened) / 2**20
        yield ok("lake", f"opens: pipelines {len(names)}, newest snapshot {newest:,}, {size:,.1f} MiB of data")
        yield from _clock(opened)
        yield from _published(opened, paths, newest)
        for name in names:
            yield from _of_pipeline(opened, paths, name)


def _size(lake: Lake) -> int:
    """Bytes of the files that the tables have now, wherever they lie."""
    return int(lake.fetch("SELECT coalesce(sum(file_size_bytes), 0) FROM ducklake_table_info('lake')")[0][0])


def _times(lake: Lake, snapshot: int) -> dt.datetime | None:
    rows = lake.rows(
        "SELECT max(snapshot_time)::TIMESTAMP AS written_at FROM lake.snapshots() WHERE snapshot_id <= ?", [snapshot]
    )
    return rows[0]["written_at"] if rows else None


def _clock(lake: Lake) -> Iterator[Finding]:
    written = _times(lake, lake.snapshot())
    if written is not None and written - versions.now() > AHEAD:
        yield problem("clock", f"the newest snapshot is of {written:%Y-%m-%d %H:%M} UTC", "set the machine's clock")
    else:
        yield ok("clock", f"{versions.now():%Y-%m-%d %H:%M} UTC, after the newest snapshot")


def _published(lake: Lake, paths: Paths, newest: int) -> Iterator[Finding]:
    """How far are readers who may not write behind? Each run publishes a copy at its end."""
    seen = paths.catalog.published_snapshot()
    if seen is None:
        text = "no copy of the catalog was published for readers who may not write"
        yield warning("lake", text, "any run of a pipeline publishes one, such as `ml-assets ingest NAME`")
        return
    if seen >= newest:
        yield ok("lake", "readers who may not write see the newest snapshot")
        return
    now, then = _times(lake, newest), _times(lake, seen)
    text = f"readers who may not write are {newest - seen:,} snapshots behind"
    if now is not None and then is not None and now - then > OLD:
        yield warning("lake", text, "any run of a pipeline publishes a new one, such as `ml-assets ingest NAME`")
    else:
        yield ok("lake", text)


def _of_pipeline(lake: Lake, paths: Paths, name: str) -> Iterator[Finding]:
    damaged = lake.damaged_files(name)
    for file in damaged:
        yield problem(name, f"a data file of {file.table} {file.what}: {file.path}", file.fix)
    if not damaged:
        yield ok(name, "all data files are there")
    last = maintenance.last_run(lake, name) or _times(lake, 1)
    if last is not None and versions.now() - last > MAINTAINED:
        text = f"the last maintenance was on {last:%Y-%m-%d}, or never"
        yield warning(name, text, f"ml-assets lake maintenance {name}")
    yield from _champion(lake, paths, name)


def _champion(lake: Lake, paths: Paths, name: str) -> Iterator[Finding]:
    champion = versions.alias(lake, name, "champion")
    if champion is None:
        return
    try:
        released = releases.need(lake, name, champion.version)
        manifest.verify(paths.artifacts.releases.fetch(released.folder), released.sha256, "release")
    except MLAssetsError as error:
        text = f"the release of champion {champion.version}: {error.rule}"
        yield problem(name, text, error.fix or TRAIN.format(name))
    else:
        yield ok(name, f"champion {champion.version}: its release is the one that was registered")
