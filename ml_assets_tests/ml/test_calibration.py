"""Calibration errors of true and of bold probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from ml_assets.ml import calibration


def test_calibration_error_of_true_and_of_bold_probabilities() -> None:
    rng = np.random.default_rng(3)
    predicted = rng.random(5000)
    observed = (rng.random(5000) < predicted).astype(int)
    assert calibration.error(predicted, observed) < calibration.error_by_chance(predicted, 0) < 0.05
    bold = np.where(predicted > 0.5, 0.99, 0.01)
    assert calibration.error(bold, observed) == pytest.approx(0.24, abs=0.02)
    assert calibration.error_by_chance(predicted[:50], 0) > 0.1


def test_equal_probabilities_share_a_bin() -> None:
    observed = np.r_[np.ones(30), np.zeros(70)]
    assert calibration.error(np.full(100, 0.3), observed) == pytest.approx(0)
    assert calibration.error(np.full(100, 0.8), observed) == pytest.approx(0.5)
