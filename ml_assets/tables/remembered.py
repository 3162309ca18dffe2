"""What a process remembers of the lakes that it reads, so that sensors, which ask for every batch at each check, read
what is new.

What a query gives of a batch is read again only where the batch's files are others than the last time: the catalog
names those of all batches in some milliseconds, and a file never changes.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from itertools import groupby
from operator import itemgetter
from typing import Any

from ml_assets.lake.data_files import MOST_FILES
from ml_assets.lake.lake import Lake
from ml_assets.tables.table import Table

MOST_LAKES = 4
_lakes: dict[str, dict[Hashable, Any]] = {}  # by their data folders, the one that was used last at the end
_guard = threading.Lock()  # Dagster evaluates sensors in several threads


def memory(lake: Lake) -> dict[Hashable, Any]:
    """What is remembered of a lake. Whoever keeps something there tells by himself whether it is still true."""
    with _guard:
        found = _lakes[lake.catalog.data.url] = _lakes.pop(lake.catalog.data.url, {})
        for forgotten in list(_lakes)[:-MOST_LAKES]:
            del _lakes[forgotten]
    return found


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
        files, kept, key = lake.files_by_batch(of.of(pipeline)), memory(lake), (of.of(pipeline), sql)
        if files is None:
            return sorted(of.query(lake, pipeline, sql), key=itemgetter("batch"))
        known = {batch: one for batch, one in kept.get(key, {}).items() if files.get(batch) == one[0]}
        new = [batch for batch in files if batch not in known]
        found = of.query(lake, pipeline, sql, batches=new if len(new) <= MOST_FILES else None) if new else []
    by_batch = {batch: list(its) for batch, its in groupby(sorted(found, key=itemgetter("batch")), itemgetter("batch"))}
    kept[key] = known = {**known, **{batch: (files[batch], by_batch.get(batch, [])) for batch in new}}
    return [row for batch in files for row in known[batch][1]]
