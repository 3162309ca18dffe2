"""An exported model answers as scikit-learn does, on real rows and on rows with missing and unknown values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, f_classif, f_regression
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from ml_assets.ml import estimators
from ml_assets.ml.onnx import NotExportable, export, hard_rows, parity

EXACT = 1e-12
NUMBERS = ["a", "b", "c", "d"]
TYPES = {"hue": "category", **dict.fromkeys(NUMBERS, "number"), "site": "category"}


def data(kind: str) -> tuple[pd.DataFrame, Any]:
    """Wine (classes) or diabetes (regression): four numbers with gaps, and two categories, one of them with gaps."""
    rng = np.random.default_rng(0)
    given, target = (load_diabetes if kind in ("regression", "counts") else load_wine)(return_X_y=True)
    frame = pd.DataFrame(given[:, 4:8], columns=NUMBERS)
    frame["hue"] = np.array(["x", "y", "z"], dtype=object)[
        np.digitize(given[:, 2], np.quantile(given[:, 2], [0.3, 0.7]))
    ]
    frame.loc[::40, "hue"] = "rare"
    frame["site"] = rng.choice(np.array(["north", "south", None], dtype=object), len(frame))
    frame.loc[rng.random(len(frame)) < 0.1, "a"] = np.nan
    labels = {
        "binary": (target == 1).astype(int),
        "multiclass": np.array(["good", "bad", "ugly"])[target.astype(int) % 3],
        "regression": target,
        "counts": target.astype(int),
    }
    return estimators.feature_frame(frame, TYPES), labels[kind]


def differs(model: Any, frame: pd.DataFrame) -> float:
    exported = export(model, TYPES)
    return max(parity(exported, model, frame), parity(exported, model, hard_rows(frame, TYPES)))


@pytest.mark.parametrize(
    ("kind", "path", "params"),
    [
        ("binary", "ensemble.HistGradientBoostingClassifier", {"max_iter": 20}),
        ("multiclass", "ensemble.HistGradientBoostingClassifier", {"max_iter": 10}),
        ("binary", "ensemble.HistGradientBoostingClassifier", {"max_iter": 20, "categorical_features": [4, 5]}),
        ("counts", "ensemble.HistGradientBoostingRegressor", {"loss": "poisson", "max_iter": 20}),
        ("regression", "ensemble.HistGradientBoostingRegressor", {"categorical_features": [5], "max_iter": 20}),
        ("binary", "ensemble.RandomForestClassifier", {"n_estimators": 10}),
        ("multiclass", "ensemble.RandomForestClassifier", {"n_estimators": 10}),
        ("regression", "ensemble.RandomForestRegressor", {"n_estimators": 10}),
        ("binary", "ensemble.ExtraTreesClassifier", {"n_estimators": 10}),
        ("regression", "ensemble.ExtraTreesRegressor", {"n_estimators": 10}),
        ("multiclass", "tree.DecisionTreeClassifier", {}),
        ("regression", "tree.DecisionTreeRegressor", {"max_depth": 1}),
        ("binary", "tree.DecisionTreeClassifier", {"min_samples_leaf": 1000}),  # one leaf
        ("binary", "ensemble.GradientBoostingClassifier", {"n_estimators": 10, "loss": "exponential"}),
        ("multiclass", "ensemble.GradientBoostingClassifier", {"n_estimators": 10}),
        ("regression", "ensemble.GradientBoostingRegressor", {"n_estimators": 10}),
        ("binary", "linear_model.LogisticRegression", {}),
        ("multiclass", "linear_model.LogisticRegression", {"C": 0.1}),
        ("regression", "linear_model.LinearRegression", {}),
        ("regression", "linear_model.Ridge", {}),
        ("regression", "linear_model.Lasso", {}),
        ("regression", "linear_model.ElasticNet", {"fit_intercept": False}),
    ],
)
def test_each_estimator_with_the_preprocessing_that_it_gets(kind: str, path: str, params: dict[str, Any]) -> None:
    frame, labels = data(kind)
    model = estimators.make_model(f"sklearn.{path}", params, TYPES, 0).fit(frame, labels)
    assert differs(model, frame) <= EXACT


def pipeline(number: Any, category: Any, estimator: Any, **steps: Any) -> Pipeline:
    preprocess = ColumnTransformer([("numbers", number, NUMBERS), ("categories", category, ["hue", "site"])])
    return Pipeline([("preprocess", preprocess), *steps.items(), ("estimator", estimator)])


def number(imputer: str, scaler: Any, indicator: bool = True) -> Pipeline:
    steps = [("impute", SimpleImputer(strategy=imputer, add_indicator=indicator))]
    return Pipeline([*steps, ("scale", scaler)] if scaler else steps)


ONE_HOT = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20)
ORDINAL = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


@pytest.mark.parametrize(
    ("kind", "numbers", "categories", "steps"),
    [
        ("binary", number("median", StandardScaler()), ONE_HOT, {}),
        ("multiclass", number("mean", RobustScaler(), False), TargetEncoder(), {}),
        ("regression", number("most_frequent", MinMaxScaler()), TargetEncoder(target_type="continuous"), {}),
        (
            "regression",
            number("mean", None),
            clone(ORDINAL).set_params(encoded_missing_value=-1),
            {"select": SelectKBest(f_regression, k=3)},
        ),
        ("binary", number("median", StandardScaler()), ONE_HOT, {"reduce": PCA(3)}),
        ("multiclass", number("mean", StandardScaler()), ONE_HOT, {"reduce": PCA(0.8, whiten=True)}),
        ("binary", number("mean", None), ONE_HOT, {"select": SelectKBest(f_classif, k=6), "reduce": PCA(2)}),
    ],
)
def test_each_preprocessing(kind: str, numbers: Any, categories: Any, steps: dict[str, Any]) -> None:
    frame, labels = data(kind)
    path = "sklearn.linear_model." + ("Ridge" if kind == "regression" else "LogisticRegression")
    model = pipeline(numbers, categories, estimators.make_estimator(path, {}, 0), **steps).fit(frame, labels)
    assert differs(model, frame) <= EXACT


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 10}),
        ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 10}),
        ("sklearn.linear_model.LogisticRegression", {}),
    ],
)
def test_calibration(method: str, kind: str, path: str, params: dict[str, Any]) -> None:
    frame, labels = data(kind)
    base = estimators.make_estimator(path, params, 0)
    encoder = ONE_HOT if "Logistic" in path else ORDINAL
    numbers = number("mean", StandardScaler()) if "Logistic" in path else "passthrough"
    calibrated = CalibratedClassifierCV(base, method=method, cv=3, ensemble=False)
    model = pipeline(numbers, encoder, calibrated).fit(frame, labels)
    assert differs(model, frame) <= EXACT


def test_a_missing_value_may_be_a_known_category_or_an_unknown_one() -> None:
    frame, labels = data("binary")
    for filled in (frame, frame.fillna({"site": "north"})):
        model = estimators.make_model("sklearn.tree.DecisionTreeClassifier", {}, TYPES, 0).fit(filled, labels)
        exported = export(model, TYPES)
        assert exported.categories["site"] == ["north", "south"]
        asked = frame.head(3).assign(site=[np.nan, "west", "north"])
        assert parity(exported, model, asked) <= EXACT


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("sklearn.neighbors.KNeighborsClassifier", "KNeighborsClassifier"),
        ("lightgbm.LGBMClassifier", "lightgbm LGBMClassifier"),
    ],
)
def test_what_is_not_known_to_be_exact_is_refused_by_name(path: str, reason: str) -> None:
    frame, labels = data("binary")
    params = {"verbose": -1, "n_estimators": 2} if "lightgbm" in path else {}
    model = estimators.make_model(path, params, TYPES, 0).fit(frame, labels)
    with pytest.raises(NotExportable, match=reason):
        export(model, TYPES)


def test_a_wrong_export_is_seen() -> None:
    frame, labels = data("binary")
    path = "sklearn.ensemble.HistGradientBoostingClassifier"
    model, other = (
        estimators.make_model(path, {"max_iter": 5}, TYPES, 0).fit(frame, labels if n else labels[::-1]) for n in (1, 0)
    )
    assert parity(export(other, TYPES), model, frame) > 0.01
