"""The lookups as the next batch will see them, and the references as they are now: what the server computes with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ml_assets.graph.features import make
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifier
from ml_assets.sources.references import load_references
from ml_assets.spec import PipelineSpec
from ml_assets.tables import online
from ml_assets.tables.online import Made


def make_online(lake: Lake, paths: Paths, spec: PipelineSpec, texts: Mapping[str, str]) -> Iterator[Made]:
    """Compute every lookup and read every reference, each into a temporary table.

    Args:
        lake: The lake.
        paths: Where relative paths of references start.
        spec: The pipeline.
        texts: File name -> text of its SQL files.

    Raises:
        FeatureError: As `make.make_lookup`.
        SourceError: A reference cannot be read.
    """
    for name, lookup in spec.lookups.items():
        history = make.make_lookup(lake, spec, None, lookup, texts[lookup.sql])
        rows = identifier(f"online {name}")
        lake.con.execute(f"CREATE OR REPLACE TEMP TABLE {rows} AS SELECT * EXCLUDE (batch) FROM {make.LOOKUP_ROWS}")
        yield Made(online.LOOKUPS, name, rows, history)
    load_references(lake, spec, paths, spec.references)
    for name in spec.references:
        yield Made(online.REFERENCES, name, identifier(name))
