"""Estimators by path, and preprocessing that bears missing and unknown values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml_assets.errors import SpecError, TrainingError
from ml_assets.ml import estimators, signatures
from ml_assets.ml.feature_types import feature_type

TYPES = {"amount": "number", "flag": "number", "city": "category"}
FRAME = pd.DataFrame(
    {
        "amount": [1.0, np.nan, 3.0, 4.0] * 15,
        "flag": [True, False, True, True] * 15,
        "city": ["x", "y", None, "x"] * 15,
        "other": 1,
    }
)
LABELS = np.array([0, 1, 0, 1] * 15)


@pytest.mark.parametrize(
    "path",
    [
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "sklearn.linear_model.LogisticRegression",
        "sklearn.ensemble.RandomForestClassifier",
        "sklearn.neighbors.KNeighborsClassifier",
        "sklearn.naive_bayes.GaussianNB",
    ],
)
def test_models_take_missing_numbers_and_unknown_categories(path: str) -> None:
    features = estimators.feature_frame(FRAME, TYPES)
    model = estimators.make_model(path, {}, TYPES, seed=1).fit(features, LABELS)
    new = pd.DataFrame({"amount": [np.nan, 2.0], "flag": [None, True], "city": ["never seen", None]})
    scores = estimators.predict_scores(model, estimators.feature_frame(new, TYPES), "binary")
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


def test_feature_frame_has_the_models_columns_in_order() -> None:
    frame = estimators.feature_frame(FRAME[["city", "flag", "amount"]], TYPES)
    assert list(frame.columns) == ["amount", "flag", "city"]
    assert frame.dtypes.astype(str).to_list() == ["float64", "float64", "object"]
    assert frame["city"].isna().sum() == 15


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("sklearn.linear_model.LogisticRegresion", "did you mean 'LogisticRegression'?"),
        ("sklearn.linear.LogisticRegression", "no module 'sklearn.linear'"),
        ("nopackage.Model", "'nopackage' is not installed"),
    ],
)
def test_a_wrong_path_is_refused_without_importing_it(path: str, text: str) -> None:
    with pytest.raises(SpecError, match=text.replace("?", r"\?")):
        signatures.check_path(path)


def test_real_paths_pass() -> None:
    for path in ("sklearn.ensemble.HistGradientBoostingClassifier", "sklearn.tree.DecisionTreeRegressor"):
        signatures.check_path(path)


def test_a_wrong_parameter_names_the_nearest() -> None:
    with pytest.raises(TrainingError, match="did you mean 'max_depth'"):
        estimators.make_estimator("sklearn.tree.DecisionTreeClassifier", {"maxdepth": 3}, 0)
    with pytest.raises(TrainingError, match="no fit"):
        estimators.make_estimator("sklearn.utils.Bunch", {}, 0)


def test_features_without_any_value_are_left_out() -> None:
    frame = estimators.feature_frame(FRAME.assign(amount=np.nan), TYPES)
    types = estimators.present(frame, TYPES)
    assert list(types) == ["flag", "city"]
    for path in ("sklearn.ensemble.HistGradientBoostingClassifier", "sklearn.linear_model.LogisticRegression"):
        model = estimators.make_model(path, {}, types, 0).fit(frame, LABELS)
        assert np.isfinite(estimators.predict_scores(model, frame, "binary")).all()
    with pytest.raises(TrainingError, match="No feature has a value"):
        estimators.present(frame.assign(flag=np.nan, city=np.nan), TYPES)


def test_labels() -> None:
    assert estimators.label_array(pd.Series([True, False]), "binary").tolist() == [1, 0]
    assert estimators.label_array(pd.Series([1, 2]), "multiclass").tolist() == ["1", "2"]
    with pytest.raises(TrainingError, match="true/false or 1/0"):
        estimators.label_array(pd.Series(["yes", "no"]), "binary")


@pytest.mark.parametrize(
    ("sql_type", "kind"),
    [("DOUBLE", "number"), ("DECIMAL(9,2)", "number"), ("BOOLEAN", "number"), ("VARCHAR", "category"), ("DATE", None)],
)
def test_feature_types(sql_type: str, kind: str | None) -> None:
    assert feature_type(sql_type) == kind
