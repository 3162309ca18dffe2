"""Trials of the searches: the rows of `<pipeline>.trials`, appended by each search in one write."""

from __future__ import annotations

import json
from typing import Any

from ml_assets.lake.lake import Lake


def newest(lake: Lake, pipeline: str, pin_id: str) -> list[dict[str, Any]]:
    """The trials of each candidate's newest search on a training set, in order; `params` are dictionaries."""
    rows = lake.rows_of(
        f"{pipeline}.trials",
        """SELECT * FROM {t} WHERE pin_id = ?
        QUALIFY finished_at = max(finished_at) OVER (PARTITION BY candidate) ORDER BY candidate, trial""",
        [pin_id],
    )
    return [{**row, "params": json.loads(row["params"])} for row in rows]
