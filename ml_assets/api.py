"""What a notebook or script calls: the lake, opened for reading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.tables import training_sets, versions

if TYPE_CHECKING:
    import pandas as pd


def open_lake(root: str | Path | None = None) -> Lake:
    """The project's lake, read-only.

    Args:
        root: Project folder; by default the one around the working directory.

    Example:
        `open_lake().table("flights.predictions").df()`; `.con` is the DuckDB connection for any SQL.

    Raises:
        LakeError: There is no lake yet, once it is used.
    """
    return Lake(Paths.of(Path(root) if root else None).lake, read_only=True)


def training_rows(pipeline: str, version: str | None = None, root: str | Path | None = None) -> pd.DataFrame:
    """The rows of a training set, as the training saw them: one row for each labelled row.

    Columns: `batch` and `row_id`; `part` (train, validation or test); `label`, as it was known then; the features, of
    which numbers are float64.

    Args:
        pipeline: The pipeline.
        version: A model version, for what it was trained and tested on; by default the newest training set.
        root: As in `open_lake`.

    Example:
        `training_rows("flights").groupby("part")["label"].mean()`

    Raises:
        ModelError: There is no such version.
        TrainingError: There is no training set yet, or the snapshot that it reads is gone.
    """
    with open_lake(root) as lake:
        pin_id = versions.need_version(lake, pipeline, version).pin_id if version else None
        return training_sets.read(lake, pipeline, training_sets.newest(lake, pipeline, pin_id=pin_id))
