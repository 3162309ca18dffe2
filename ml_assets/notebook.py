"""What a notebook or script calls: the lake, opened for reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.tables import training_sets, versions
from ml_assets.tables.snapshot_names import SnapshotLike, snapshot_id

if TYPE_CHECKING:
    import pandas as pd


class OpenLake(Lake):
    """The lake as a notebook or script reads it."""

    def table(
        self, name: str, *, batches: Sequence[str] | None = None, snapshot: SnapshotLike | None = None
    ) -> duckdb.DuckDBPyRelation:
        """A table of the lake, such as `flights.features`, as a DuckDB relation (`.df()`, `.arrow()`, `.fetchall()`).

        It reads when it is used: what fails then raises DuckDB's errors, and here ours.

        Args:
            name: `schema.table`.
            batches: Only the rows of these batches.
            snapshot: The table as it was at this snapshot: its id, a model version such as `1.2.0` for what that
                model was trained on, or a moment (UTC where it has no zone).

        Raises:
            LakeError: There is no such table or snapshot.
        """
        found = None
        if snapshot is not None:
            found = snapshot if isinstance(snapshot, int) else snapshot_id(self, snapshot, name.partition(".")[0])
        return super().table(name, batches=batches, snapshot=found)


def open_lake(root: str | Path | None = None) -> OpenLake:
    """The project's lake, read-only.

    Args:
        root: Project folder; by default the one around the working directory.

    Example:
        `open_lake().table("flights.predictions").df()`; `.con` is the DuckDB connection for any SQL.

    Raises:
        LakeError: There is no lake yet, once it is used.
    """
    return OpenLake.of(Paths.of(Path(root) if root else None), read_only=True)


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
