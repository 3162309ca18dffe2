"""Models that ignore every feature."""

from __future__ import annotations

import numpy as np

from ml_assets.ml import baseline


def test_the_dummy_knows_the_prior_only() -> None:
    labels = np.array([0, 1, 1])
    assert baseline.dummy_score("roc_auc", labels, labels, "binary") == 0.5
    assert baseline.dummy_score("rmse", np.array([1.0, 3.0]), np.array([2.0, 2.0]), "regression") == 0
