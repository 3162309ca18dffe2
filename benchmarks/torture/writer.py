"""A process that overwrites batches of a table without end, and says after each commit what it wrote.

`python -m benchmarks.torture.writer LAKE TABLE BATCHES ROWS SEED [STAMPS]`: `ack BATCH STAMP` follows each commit.
All rows of a write have its stamp, so that a torn or doubled one shows. Where ML_ASSETS_CATALOG and ML_ASSETS_LAKE_DATA
are set, the lake is on these servers.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
from pathlib import Path
from typing import Any

from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.lake.postgres import PostgresCatalog


def opened(folder: Path, **options: Any) -> Lake:
    """The lake in a folder, or on the servers that the environment names."""
    address = os.environ.get("ML_ASSETS_CATALOG")
    catalog = PostgresCatalog(address, folder, os.environ.get("ML_ASSETS_LAKE_DATA")) if address else None
    return Lake(folder, catalog=catalog, **options)  # type: ignore[arg-type]


def main() -> None:
    folder, table, batches, rows, seed, *most = sys.argv[1:]
    numbers = random.Random(int(seed))
    with opened(Path(folder)) as lake:
        for stamp in itertools.count(1) if not most else range(1, int(most[0]) + 1):
            batch = str(numbers.randrange(int(batches)))
            mark = int(seed) * 1_000_000 + stamp
            print(f"try {batch} {mark}", flush=True)
            lake.con.execute(
                f"CREATE OR REPLACE TEMP TABLE new_rows AS SELECT '{batch}' AS batch, range AS row_id, "
                f"{mark} AS stamp FROM range({int(rows)})"
            )
            lake.replace([Put(table, "new_rows", batch)], Commit(table.replace(".", "/"), batch=batch))
            print(f"ack {batch} {mark}", flush=True)


if __name__ == "__main__":
    main()
