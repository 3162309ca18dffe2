"""The two engines that compute features, and which one a release is served with."""

from __future__ import annotations

import logging
from pathlib import Path

from ml_assets.ml.bundle import Schema
from ml_assets.ml.release import ServingFacts
from ml_assets.server.features import Features
from ml_assets.server.features_sqlite import NotHeld, SqliteFeatures

Engine = Features | SqliteFeatures
log = logging.getLogger("ml_assets.server")


def opened(
    folder: Path, facts: ServingFacts, schema: Schema, tables: Path | None = None, beside: Engine | None = None
) -> Engine:
    """The engine that the release names, for one thread at a time.

    DuckDB takes its place where SQLite cannot hold the tables, which may be newer than those of the release.

    Args:
        folder: The release.
        facts: What it says about itself.
        schema: The bundle's schema.
        tables: Folder of the lookups and references that take the place of the release's own.
        beside: An engine over the same tables, for another thread: the new one is of its kind.

    Raises:
        ServingError: The SELECT or the function does not fit the tables.
    """
    if facts.features_engine == "sqlite" and not isinstance(beside, Features):
        try:
            return SqliteFeatures(folder, facts, schema, tables)
        except NotHeld as error:
            log.warning("features of %s %s are computed on DuckDB: %s", facts.pipeline, facts.version, error)
    return Features(folder, facts, schema, tables, beside if isinstance(beside, Features) else None)
