"""How many batches of a backfill one run of Dagster takes: a setting of the project.

    [tool.ml_assets.backfill]
    batches_per_run = 25       # without it, or by 0, neighbouring batches are one run

`$ML_ASSETS_BATCHES_PER_RUN` is stronger. Commands of Dagster take a range of batches only where one run takes them all.
"""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from ml_assets.errors import SpecError
from ml_assets.settings import settings

ENV, KEY = "ML_ASSETS_BATCHES_PER_RUN", "batches_per_run"
ALL = {ENV: "0"}  # environment of a command that takes a range


def policy_of(root: Path) -> dg.BackfillPolicy:
    """How the batches of a backfill become runs.

    Raises:
        SpecError: The setting is no number of batches.
    """
    found = settings(root, "backfill", {KEY: int})
    text = os.environ.get(ENV) or str(found.get(KEY, 0))
    if not text.isdecimal():
        where = {"variable": ENV, "table": "tool.ml_assets.backfill"}
        raise SpecError(f"{KEY} must be 1 or more, or 0 for no limit.", found=text, where=where)
    return dg.BackfillPolicy.multi_run(int(text)) if int(text) else dg.BackfillPolicy.single_run()
