"""What a training run works on from step to step: its training set, and the version that was trained on it."""

from __future__ import annotations

from ml_assets.lake.lake import Lake
from ml_assets.tables import training_sets, versions
from ml_assets.tables.training_sets import Pin
from ml_assets.tables.versions import ModelVersion


def model_of_run(lake: Lake, pipeline: str, run_id: str) -> tuple[Pin, ModelVersion]:
    """The training set and the version of a run; of one that has made none, the newest.

    Raises:
        TrainingError: There is no training set yet.
        ModelError: No model has been trained on it.
    """
    pin = training_sets.newest(lake, pipeline, run_id)
    return pin, versions.of_pin(lake, pipeline, pin.pin_id)
