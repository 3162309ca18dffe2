"""How many batches of a backfill one run of Dagster takes: a setting of the project.

[tool.ml_assets.backfill]
batches_per_run = 10       # without it, neighbouring batches are one run
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from ml_assets.errors import SpecError
from ml_assets.settings import settings

KEY = "batches_per_run"


def policy_of(root: Path) -> dg.BackfillPolicy:
    """How the batches of a backfill become runs.

    Raises:
        SpecError: The setting is no positive number.
    """
    number = settings(root, "backfill", {KEY: int}).get(KEY)
    if number is None:
        return dg.BackfillPolicy.single_run()
    if number < 1:
        where = {"table": "tool.ml_assets.backfill"}
        raise SpecError(f"The setting {KEY!r} must be 1 or more.", found=number, where=where)
    return dg.BackfillPolicy.multi_run(max_partitions_per_run=number)
