"""LightGBM, XGBoost and CatBoost: candidates like others, quiet, and kept without a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_assets.ml import bundle, estimators, signatures
from ml_assets.spec import Candidate
from ml_assets_tests.ml.test_preprocessing import FRAME, LABELS, NEW, TYPES

ROUNDS = {"lightgbm": "n_estimators", "xgboost": "n_estimators", "catboost": "iterations"}


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("name", ["lightgbm.LGBM", "xgboost.XGB", "catboost.CatBoost"])
def test_a_booster_is_fitted_quietly_and_survives_its_bundle(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    package = pytest.importorskip(name.split(".")[0]).__name__
    monkeypatch.chdir(tmp_path)
    path = name + ("Regressor" if kind == "regression" else "Classifier")
    signatures.check_path(path)
    params: dict[str, Any] = {ROUNDS[package]: 3, estimators.THREADS[package == "catboost"]: 1}
    model = estimators.fit_model(Candidate(estimator=path), params, FRAME, LABELS[kind], TYPES, kind, 7)
    classes = [] if kind == "regression" else [str(word) for word in model.classes_]
    if kind == "multiclass":
        assert classes == ["k1", "k2", "k3"]
        assert set(np.ravel(model.predict(FRAME))) <= set(classes)
    schema = bundle.Schema(kind, "y", {}, TYPES, classes, None, estimators.class_path(path))
    digest = bundle.save(tmp_path / "1.0.0", model, schema, {})
    loaded = bundle.load(tmp_path / "1.0.0", digest)
    for rows in (FRAME, NEW):
        before = estimators.predict_scores(model, rows, kind)
        np.testing.assert_array_equal(estimators.predict_scores(loaded.model, rows, kind), before)
    assert [file.name for file in tmp_path.iterdir()] == ["1.0.0"]
    said = capfd.readouterr()
    assert said.out + said.err == ""


@pytest.mark.parametrize("path", ["lightgbm.LGBMClassifier", "xgboost.XGBClassifier", "catboost.CatBoostClassifier"])
def test_a_booster_is_seeded_and_limited_to_its_threads(path: str) -> None:
    pytest.importorskip(path.split(".")[0])
    params = estimators.make_estimator(path, {}, 11, threads=1).get_params()
    assert params["random_state"] == 11
    assert params["thread_count" if "catboost" in path else "n_jobs"] == 1
    assert estimators.make_estimator(path, {"random_state": 3}, 11).get_params()["random_state"] == 3
