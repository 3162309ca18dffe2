"""Which pipelines there are in a lake. A schema alone is none: people keep tables of their own beside them."""

from __future__ import annotations

from ml_assets.errors import LakeError, UnknownPipeline
from ml_assets.lake.lake import Lake

FIRST_TABLE = "arrivals"  # every pipeline begins with it


def pipelines(lake: Lake) -> list[str]:
    """Pipelines that have listed their source at least once, by name."""
    named = (name.split(".", 1) for name in lake.tables())
    return sorted(schema for schema, table in named if table == FIRST_TABLE)


def need_pipeline(lake: Lake, name: str) -> None:
    """Refuse a name that is no pipeline's.

    Raises:
        UnknownPipeline: It is none.
    """
    if not lake.exists(f"{name}.{FIRST_TABLE}"):  # ten times as fast as the list of all tables
        raise UnknownPipeline(name, pipelines(lake))


def only_pipeline(lake: Lake) -> str:
    """The pipeline that is meant where none is named.

    Raises:
        LakeError: There are several, or there is none.
    """
    known = pipelines(lake)
    if len(known) != 1:
        raise LakeError("Which pipeline?", found=", ".join(known) or "none in the lake", fix="Name one of them.")
    return known[0]
