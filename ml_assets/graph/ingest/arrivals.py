"""The table of arrivals: every file that was seen, what became of it, and which batches can be ingested."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import duckdb

from ml_assets.errors import SourceError
from ml_assets.graph.ingest import files
from ml_assets.graph.ingest.files import Arrival, header, scan
from ml_assets.spec import PipelineSpec
from ml_assets.store.lake import Lake
from ml_assets.store.paths import Paths
from ml_assets.store.sql import table

COLUMNS = {
    "path": "VARCHAR",
    "batch": "VARCHAR",
    "sha256": "VARCHAR",
    "size_bytes": "BIGINT",
    "modified_at": "TIMESTAMP",
    "status": "VARCHAR",
    "error": "VARCHAR",
}


def known(lake: Lake, spec: PipelineSpec) -> dict[str, Arrival]:
    """Arrivals as last recorded, by path."""
    name = f"{spec.name}.arrivals"
    if not lake.exists(name):
        return {}
    rows = lake.rows(f"SELECT {', '.join(COLUMNS)} FROM {table(name)}")
    return {row["path"]: Arrival(**row) for row in rows}


def ingested(paths: Paths, spec: PipelineSpec) -> dict[str, Arrival]:
    """Arrivals whose very bytes have reached the features, by path; none where there is no lake yet."""
    with Lake(paths.lake, read_only=True) as lake:
        if not lake.is_there() or not lake.exists(f"{spec.name}.raw_data"):
            return {}
        read = lake.con.execute(
            f"SELECT DISTINCT batch, source_sha256 FROM {table(f'{spec.name}.raw_data')}"
        ).fetchall()
        made = set(lake.batches(f"{spec.name}.features"))
        return {
            path: arrival
            for path, arrival in known(lake, spec).items()
            if (arrival.batch, arrival.sha256) in read and arrival.batch in made
        }


def take_stock(spec: PipelineSpec, folder: Path, earlier: Mapping[str, Arrival]) -> list[Arrival]:
    """Scan the folder and refuse what cannot be a batch: unreadable files, and headers that are not as declared.

    Opens only files that are new, have changed, or were refused before.

    Raises:
        SourceError: The folder does not exist.
    """
    arrivals = scan(spec, folder, earlier)
    refused: dict[str, str] = {}
    with duckdb.connect() as con:
        for batch, paths in changed_batches(arrivals, earlier).items():
            try:
                header(con, spec, paths)
            except SourceError as error:
                refused[batch] = str(error.at(pipeline=spec.name, batch=batch))
    return [
        replace(arrival, status="refused", error=refused[arrival.batch])
        if arrival.status == "ready" and arrival.batch in refused
        else arrival
        for arrival in arrivals
    ]


def by_batch(arrivals: Iterable[Arrival]) -> dict[str, list[str]]:
    """Batch -> paths of its ready files, both in order."""
    found: dict[str, list[str]] = {}
    for arrival in arrivals:
        if arrival.status == "ready" and arrival.batch is not None:
            found.setdefault(arrival.batch, []).append(arrival.path)
    return dict(sorted(found.items()))


def changed_batches(arrivals: Iterable[Arrival], earlier: Mapping[str, Arrival]) -> dict[str, list[str]]:
    """Batches whose ready files are not the same bytes as the earlier ready ones -> paths of their ready files."""
    before = {path: arrival.sha256 for path, arrival in earlier.items() if arrival.status == "ready"}
    shas = {arrival.path: arrival.sha256 for arrival in arrivals}
    found = {}
    for batch, paths in by_batch(arrivals).items():
        known_paths = {path for path in before if earlier[path].batch == batch and path in paths}
        if known_paths != set(paths) or any(before[path] != shas[path] for path in paths):
            found[batch] = paths
    return found


def files_of(lake: Lake, spec: PipelineSpec, batch: str) -> list[Arrival]:
    """The ready files of a batch, unchanged since they were seen.

    Raises:
        SourceError: The batch has no file, was refused, or its file has changed or vanished since.
    """
    again = f"Materialize {spec.name}/arrivals, then this batch again."
    arrivals = [arrival for arrival in known(lake, spec).values() if arrival.batch == batch]
    ready = sorted((a for a in arrivals if a.status == "ready"), key=lambda a: a.path)
    if not ready:
        for arrival in arrivals:
            raise SourceError(
                f"The batch's file is {arrival.status}.", found=arrival.error, where={"file": arrival.path}, fix=again
            )
        raise SourceError("No file has arrived for the batch.", where={"folder": spec.source.path}, fix=again)
    for arrival in ready:
        path = Path(arrival.path)
        if not path.exists() or not files.of_path(path).same_stat(arrival):
            raise SourceError("The file has changed since it was seen.", where={"file": path}, fix=again)
    return ready
