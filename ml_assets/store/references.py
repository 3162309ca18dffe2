"""Reference tables: files that do not arrive in batches, read anew for each run."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from ml_assets.errors import SourceError
from ml_assets.spec import PipelineSpec
from ml_assets.store.formats import reader
from ml_assets.store.lake import Lake
from ml_assets.store.packed import check_whole
from ml_assets.store.paths import Paths
from ml_assets.store.remote import Place, is_url
from ml_assets.store.sql import identifier


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
            raise SourceError(
                f"The reference {name!r} cannot be read.",
                found=str(error).splitlines()[0],
                where={"pipeline": spec.name, "file": address},
                fix=f"Put the file there, or correct references.{name}.path in defs.yaml.",
            ) from error
