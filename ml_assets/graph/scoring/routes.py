"""Which version's prediction a row of a batch is routed to: by its key, as the server does it."""

from __future__ import annotations

from collections.abc import Collection

from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifiers
from ml_assets.ml import routing
from ml_assets.spec import PipelineSpec
from ml_assets.tables.data import VALIDATED_DATA

CHUNK_ROWS = 50_000
ROUTED = "routed_rows"  # row_id and role of the rows that are not the champion's


def route_batch(lake: Lake, spec: PipelineSpec, batch: str, roles: Collection[str]) -> None:
    """Fill the temporary table `routed_rows` with the rows of a batch that are routed away from the champion.

    Args:
        lake: The lake.
        spec: The pipeline.
        batch: The batch.
        roles: Roles that have a version; the share of others is the champion's.
    """
    import pyarrow as pa

    lake.con.execute(f"CREATE OR REPLACE TEMP TABLE {ROUTED} (row_id BIGINT, role VARCHAR)")
    routes: dict[str, float] = {role: share for role, share in spec.serving.routes.items() if role in roles}
    if set(routes) <= {routing.CHAMPION}:
        return
    request = [column.name for column in spec.columns if not column.outcome]
    key = routing.key_columns(spec.key, request) or ["batch", "row_id"]  # as the server, which sees no outcome
    sql = f"SELECT row_id AS number, {identifiers(key)} FROM {VALIDATED_DATA.sql(spec.name)} WHERE batch = ?"
    with lake.con.cursor() as cursor:
        cursor.execute(sql, [batch])
        for rows in cursor.to_arrow_reader(CHUNK_ROWS):
            number, *columns = (column.to_pylist() for column in rows.columns)
            chosen = [
                routing.choose(routes, routing.share_of(spec.name, values)) for values in zip(*columns, strict=True)
            ]
            lake.con.register("chosen", pa.table({"row_id": number, "role": chosen}))
            lake.con.execute(f"INSERT INTO {ROUTED} FROM chosen WHERE role != ?", [routing.CHAMPION])
            lake.con.unregister("chosen")
