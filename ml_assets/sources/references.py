"""Reference tables: files that do not arrive in batches, read anew for each run."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import duckdb

from ml_assets.errors import SourceError
from ml_assets.lake.database import scratch
from ml_assets.lake.faults import first_line
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifier, literal
from ml_assets.sources.csv_faults import CsvFault, explain
from ml_assets.sources.formats import reader
from ml_assets.sources.packed import check_whole
from ml_assets.sources.remote import Place, is_url
from ml_assets.spec import PipelineSpec


def load_references(lake: Lake, spec: PipelineSpec, paths: Paths, names: Iterable[str]) -> None:
    """Read reference files into temporary tables of their names.

    Raises:
        SourceError: A file is missing or cannot be read.
    """
    for name in names:
        reference = spec.references[name]
        folder, _, file = reference.path.rpartition("/")
        address = reference.path if is_url(reference.path) else str(paths.resolve(reference.path))
        place = Place(folder if is_url(reference.path) else address, paths.spool / spec.name, reference.options)
        try:
            entry = place.entry(address)
            version = f"{entry.size_bytes} {entry.modified_at}" if entry else ""
            local = str(place.local(address, file, version))
            check_whole(local, address)
            lake.con.execute(
                f"CREATE OR REPLACE TEMP TABLE {identifier(name)} AS SELECT * EXCLUDE (__file) FROM {reader([local])}",
                {"files": [local]},
            )
            place.discard(address, version)
        except (duckdb.Error, SourceError, OSError) as error:
            fix = f"Put the file there, or correct references.{name}.path in defs.yaml."
            fault = explain(error, local, fix) if isinstance(error, duckdb.Error) else CsvFault(first_line(error), fix)
            raise SourceError(
                f"The reference {name!r} cannot be read.",
                found=fault.found,
                where={"pipeline": spec.name, "file": address},
                fix=fault.fix,
            ) from error


def reference_columns(spec: PipelineSpec, paths: Paths, name: str) -> dict[str, str] | None:
    """Column name -> SQL type of a reference, read off the head of its file; None where that is away or not local."""
    path = spec.references[name].path
    if is_url(path) or not (file := paths.resolve(path)).is_file():
        return None
    try:
        return _head(str(file), file.stat().st_mtime_ns)
    except (duckdb.Error, SourceError):
        return None  # the run tells what is wrong with it


@cache  # for as long as the file is not changed
def _head(file: str, _modified_ns: int) -> dict[str, str]:
    # The path as a literal: a parameter makes DuckDB import pandas, and every load of a code location comes by here.
    source = reader([file], files=f"[{literal(file)}]")
    with scratch() as con:
        return {row[0]: row[1] for row in con.execute(f"DESCRIBE SELECT * EXCLUDE (__file) FROM {source}").fetchall()}
