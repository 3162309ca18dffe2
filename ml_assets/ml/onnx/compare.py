"""How far an exported model is from the model that it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml_assets.ml.engine import OnnxModel
from ml_assets.ml.onnx.export import Exported

if TYPE_CHECKING:
    import pandas as pd

HARD_ROWS = 2000


def parity(exported: Exported, model: Any, frame: pd.DataFrame) -> float:
    """The largest difference of any prediction; relative for values beyond 1, infinite where one is not a number.

    Args:
        exported: The exported model.
        model: The model that it was made of.
        frame: Feature frame to ask both about; `hard_rows` makes the difficult ones.
    """
    other = OnnxModel(exported.proto, exported.features, exported.categories)
    ask = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    expected = np.asarray(getattr(model, ask)(frame), dtype=np.float64)
    found = getattr(other, ask)(frame)
    if found.shape != expected.shape:
        return float("inf")
    difference = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    return float("inf") if np.isnan(difference).any() else float(difference.max(initial=0.0))


def hard_rows(frame: pd.DataFrame, features: dict[str, str], seed: int = 0) -> pd.DataFrame:
    """Rows with what real rows rarely have: missing numbers and categories, unknown categories, far numbers."""
    rng = np.random.default_rng(seed)
    rows = frame.sample(HARD_ROWS, replace=True, random_state=seed).reset_index(drop=True)
    for name, kind in features.items():
        draw = rng.random(len(rows))
        if kind == "number":
            rows.loc[draw < 0.1, name] *= 1000
            rows.loc[(draw >= 0.1) & (draw < 0.2), name] = 0.0
        else:
            rows.loc[draw < 0.2, name] = "no value of the training rows"
        rows.loc[draw > 0.8, name] = np.nan
    rows.loc[0] = np.nan  # a row of nothing at all
    return rows
