"""What a query gives of each batch of a table, read again only where the batch's files are others than the last time.

Sensors ask for every batch at each check. A process remembers, so that a check reads the new ones: the catalog names
the files of all batches in some milliseconds, and a file never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from ml_assets.lake.data_files import MOST_FILES
from ml_assets.lake.lake import Lake
from ml_assets.tables.table import Table

Rows = Sequence[dict[str, Any]]
# Data folder of a lake, table and query -> batch -> its files, and its rows.
_READ: dict[tuple[str, str, str], dict[str, tuple[str, Rows]]] = {}


def rows(lake: Lake, of: Table, pipeline: str, sql: str) -> list[dict[str, Any]]:
    """Rows of a query, by batch; not to be changed.

    Args:
        lake: The lake.
        of: The table, by batch.
        pipeline: The pipeline.
        sql: A query over {t}, as in `Table.query`, that computes the rows of each batch from those of the batch alone,
            with the batch as the column `batch`.
    """
    with lake.one_snapshot():
        files, key = lake.files_by_batch(of.of(pipeline)), (lake.catalog.data.url, of.of(pipeline), sql)
        if files is None:
            return sorted(of.query(lake, pipeline, sql), key=itemgetter("batch"))
        known = {batch: one for batch, one in _READ.get(key, {}).items() if files.get(batch) == one[0]}
        new = [batch for batch in files if batch not in known]
        found = of.query(lake, pipeline, sql, batches=new if len(new) <= MOST_FILES else None) if new else []
    by_batch = {batch: list(its) for batch, its in groupby(sorted(found, key=itemgetter("batch")), itemgetter("batch"))}
    _READ[key] = known = {**known, **{batch: (files[batch], by_batch.get(batch, [])) for batch in new}}
    return [row for batch in files for row in known[batch][1]]
