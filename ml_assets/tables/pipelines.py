"""Which pipelines a lake holds."""

from __future__ import annotations

from ml_assets.errors import LakeError, UnknownPipeline
from ml_assets.lake.lake import Lake
from ml_assets.tables.arrivals import ARRIVALS


def names(lake: Lake) -> list[str]:
    """Pipelines that have been materialized, in order: every one has a table of arrivals.

    A schema of somebody's own tables is no pipeline, even where one of them has that name.
    """
    rows = lake.rows(
        """SELECT schema_name AS pipeline FROM duckdb_columns() WHERE database_name = 'lake' AND table_name = $name
        GROUP BY ALL HAVING list_has_all(list(column_name), $columns) ORDER BY 1""",
        {"name": ARRIVALS.name, "columns": ["path", "batch", "sha256", "status"]},
    )
    return [row["pipeline"] for row in rows]


def need_pipeline(lake: Lake, name: str) -> None:
    """Refuse a name that is no pipeline's.

    Raises:
        UnknownPipeline: It is none.
    """
    known = names(lake)
    if name not in known:
        raise UnknownPipeline(name, known)


def only_pipeline(lake: Lake) -> str:
    """The pipeline that is meant where none is named.

    Raises:
        LakeError: There are several, or there is none.
    """
    known = names(lake)
    if len(known) != 1:
        raise LakeError("Which pipeline?", found=", ".join(known) or "none in the lake", fix="Name one of them.")
    return known[0]
