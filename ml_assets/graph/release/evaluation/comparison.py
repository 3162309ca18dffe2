"""A new version against the champion: on rows that neither has seen, or it would be no comparison.

Both must know what they would know. A served champion that was refit on all labelled rows has seen every batch of its
training set, its own test rows included. It is compared as it serves where all test rows of the new version are of
later batches. Otherwise, as where a training has no new batch or rows are split at random, the champion's judged
model is compared, on those rows that were not fitted to it: two judged models then, each without its test rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.lake.lake import Lake
from ml_assets.ml.judged import Array
from ml_assets.tables import releases, training_sets
from ml_assets.tables.evaluations import EvaluatedNumber
from ml_assets.tables.releases import Served
from ml_assets.tables.versions import ModelVersion

if TYPE_CHECKING:
    import pandas as pd

MIN_ROWS = 20  # as few as a part of a training set may have


@dataclass(frozen=True)
class Opponent:
    """The model of the champion that is compared.

    Args:
        served: Which one.
        unseen: The test rows that it was not fitted on, shape (n,).
        note: Why it is not the one that serves, or not all rows; empty where it is, and all are.
    """

    served: Served
    unseen: Array
    note: str = ""

    def too_few(self, metric: str) -> list[EvaluatedNumber]:
        """Why there is no comparison, as the finding that the gate reads; empty where there are rows enough."""
        rows = int(self.unseen.sum())
        if rows >= MIN_ROWS:
            return []
        note = f"champion {self.served.version} was fitted on all but {rows:,} of the {len(self.unseen):,} test rows"
        return [EvaluatedNumber("gain_over_champion", metric, float("nan"), rows, note=note)]


def opponent(lake: Lake, pipeline: str, champion: ModelVersion, rows: pd.DataFrame) -> Opponent:
    """The model of a champion to compare with on test rows of another version, and which of them it has not seen.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        champion: The champion.
        rows: The other version's test rows, with `batch` and `row_id`.
    """
    pin = training_sets.newest(lake, pipeline, pin_id=champion.pin_id)
    judged, served = releases.judged(champion), releases.served(lake, pipeline, champion)
    known = training_sets.seen(lake, pipeline, pin, rows, served.parts)
    if not known.any():
        return Opponent(served, ~known)
    fitted = known if served == judged else training_sets.seen(lake, pipeline, pin, rows, judged.parts)
    notes = []
    if served != judged:
        notes.append(f"its judged model: the one that serves knows {known.sum():,} of the {len(rows):,} test rows")
    if fitted.any():
        notes.append(f"on the {int((~fitted).sum()):,} test rows that it was not fitted on")
    return Opponent(judged, ~fitted, ", ".join(notes))
