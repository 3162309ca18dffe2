"""Every way to preprocess bears missing numbers and unknown categories, or is refused; balancing does what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_assets.errors import TrainingError
from ml_assets.ml import balancing, estimators, preprocessing
from ml_assets.spec import Candidate

TYPES = {"a": "number", "b": "number", "c": "category", "d": "category"}
RNG = np.random.default_rng(0)
N = 240
FRAME = estimators.feature_frame(
    pd.DataFrame(
        {
            "a": np.where(np.arange(N) % 7, RNG.normal(size=N), np.nan),
            "b": RNG.normal(size=N),
            "c": np.where(np.arange(N) % 9, RNG.choice(["x", "y", "z"], N), None),
            "d": RNG.choice(["p", "q"], N),
        }
    ),
    TYPES,
)
NEW = estimators.feature_frame(
    pd.DataFrame({"a": [np.nan, 1], "b": [np.nan, 2], "c": ["never seen", None], "d": [None, "p"]}), TYPES
)
LABELS = {
    "binary": (FRAME["b"] + RNG.normal(size=N) > 0.8).astype(int).to_numpy(),
    "multiclass": np.array(["k1", "k2", "k3"])[np.digitize(FRAME["b"], [-0.5, 0.9])],
    "regression": FRAME["b"].to_numpy(),
}
LOGISTIC = "sklearn.linear_model.LogisticRegression"
TREE = "sklearn.tree.DecisionTreeClassifier"
BAYES = "sklearn.naive_bayes.GaussianNB"  # takes neither sparse matrices nor class weights
NEIGHBORS = "sklearn.neighbors.KNeighborsClassifier"


def fitted(path: str, kind: str = "binary", calibrate: str | None = None, **preprocess: Any) -> Any:
    candidate = Candidate(estimator=path, preprocess=preprocess, calibrate=calibrate)  # type: ignore[arg-type]
    return estimators.fit_model(candidate, {}, FRAME, LABELS[kind], TYPES, kind, 0)


@pytest.mark.parametrize("path", [LOGISTIC, TREE, BAYES])
@pytest.mark.parametrize(
    "preprocess",
    [
        {},
        {"impute": "mean", "scale": "robust"},
        {"impute": "most_frequent", "scale": "minmax"},
        {"scale": "none"},
        {"encode": "target"},
        {"encode": "ordinal"},
        {"encode": "onehot"},
        {"select": 2},
        {"select": 99},
        {"reduce": 2, "encode": "onehot"},
        {"reduce": 99},
        {"reduce": 0.5},
        {"select": 3, "reduce": 2, "encode": "target"},
    ],
    ids=str,
)
def test_each_way_bears_what_new_rows_bring(path: str, preprocess: dict[str, Any]) -> None:
    for kind in ("binary", "multiclass"):
        model = fitted(path, kind, **preprocess)
        scores = estimators.predict_scores(model, NEW, kind)
        assert np.isfinite(scores).all()
        steps = ["preprocess", *(name for name in ("select", "reduce") if name in preprocess), "estimator"]
        assert list(model.named_steps) == steps


def test_missing_numbers_never_reach_what_does_not_take_them() -> None:
    with pytest.raises(TrainingError, match="LogisticRegression takes no missing numbers"):
        fitted(LOGISTIC, impute="none")
    with pytest.raises(TrainingError, match="select and reduce take no missing numbers"):
        fitted(TREE, impute="none", select=2)
    assert fitted(TREE, impute="none").named_steps["preprocess"].transformers[0][1] == "passthrough"


def test_what_is_selected_and_reduced() -> None:
    model = fitted(LOGISTIC, select=3, reduce=2)
    assert model.named_steps["estimator"].n_features_in_ == 2
    assert model.named_steps["reduce"].n_features_in_ == 3
    everything = fitted(LOGISTIC, select=99)
    assert everything.named_steps["select"].k == everything.named_steps["estimator"].n_features_in_


def test_one_row_of_each_category_fits_what_all_rows_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessing, "CHUNK_ROWS", 50)
    options = Candidate(estimator=TREE).preprocess
    steps, whole = (
        preprocessing.make_steps(estimators.make_estimator(TREE, {}, 0), TYPES, options, "binary", 0) for _ in range(2)
    )
    matrix = preprocessing.fit_transform(steps, FRAME, LABELS["binary"])
    np.testing.assert_array_equal(matrix, whole[0][1].fit_transform(FRAME))
    np.testing.assert_array_equal(preprocessing.transform(steps, NEW), whole[0][1].transform(NEW))


def test_weights_and_draws_make_classes_equal() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    weights = balancing.row_weights(labels, "weights", 0)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    for balance, size in (("undersample", 20), ("oversample", 180)):
        drawn = balancing.sampled(np.arange(100), labels, balancing.row_weights(labels, balance, 3))
        again = balancing.sampled(np.arange(100), labels, balancing.row_weights(labels, balance, 3))
        assert (len(drawn[1]), drawn[1].mean()) == (size, 0.5)
        np.testing.assert_array_equal(drawn[0], again[0])
    assert (
        len(np.unique(balancing.sampled(np.arange(100), labels, balancing.row_weights(labels, "oversample", 0))[0]))
        == 100
    )


@pytest.mark.parametrize("path", [LOGISTIC, BAYES])
@pytest.mark.parametrize("balance", ["weights", "undersample", "oversample"])
def test_balancing_raises_probabilities_and_calibration_mends_them(path: str, balance: str) -> None:
    share = LABELS["binary"].mean()
    plain, balanced, mended = (
        estimators.predict_scores(fitted(path, calibrate=how, balance=which), FRAME, "binary").mean()
        for which, how in (("none", None), (balance, None), (balance, "sigmoid"))
    )
    assert balanced > plain + 0.1
    assert mended == pytest.approx(share, abs=0.03)


def test_a_calibrated_model_keeps_its_own_estimator() -> None:
    last = fitted(BAYES, calibrate="isotonic", balance="oversample").named_steps["estimator"]
    assert type(last.estimator).__name__ == type(last.calibrated_classifiers_[0].estimator).__name__ == "GaussianNB"


def test_what_cannot_be_balanced_is_told() -> None:
    assert np.isfinite(estimators.predict_scores(fitted(NEIGHBORS, balance="undersample"), NEW, "binary")).all()
    with pytest.raises(TrainingError, match="neither weights of classes nor of rows"):
        fitted(NEIGHBORS, balance="weights")
    with pytest.raises(TrainingError, match="no classes to balance"):
        fitted("sklearn.linear_model.Ridge", "regression", balance="weights")
    candidate = Candidate(estimator=TREE, preprocess={"balance": "weights"})  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="weighed twice"):
        estimators.fit_model(candidate, {"class_weight": "balanced"}, FRAME, LABELS["binary"], TYPES, "binary", 0)
