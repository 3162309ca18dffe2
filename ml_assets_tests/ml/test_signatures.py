"""What is read off an estimator's source is what Python says of the imported class."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
from sklearn.utils import all_estimators

from ml_assets.errors import SpecError
from ml_assets.ml import signatures

PATHS = [
    "sklearn.ensemble.HistGradientBoostingClassifier",
    "sklearn.ensemble.RandomForestRegressor",
    "sklearn.ensemble.VotingClassifier",
    "sklearn.linear_model.LogisticRegression",
    "sklearn.linear_model.Ridge",
    "sklearn.linear_model.SGDClassifier",
    "sklearn.naive_bayes.GaussianNB",
    "sklearn.neighbors.KNeighborsRegressor",
    "sklearn.neural_network.MLPClassifier",
    "sklearn.svm.SVC",
    "sklearn.tree.ExtraTreeClassifier",
    "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
]


@pytest.mark.parametrize("path", PATHS)
def test_the_source_says_what_the_class_says(path: str) -> None:
    module, _, name = path.rpartition(".")
    made = getattr(importlib.import_module(module), name)
    found = signatures.estimator(path)
    assert found is not None
    assert found.whole
    assert found.init == set(inspect.signature(made.__init__).parameters) - {"self"}
    is_classifier = any(base.__name__ == "ClassifierMixin" for base in made.__mro__)
    assert found.predicts == ("classes" if is_classifier else "values")
    assert ("predict_proba" in found.methods) == ("predict_proba" in dir(made))


OWN = """
import dataclasses
from sklearn.base import BaseEstimator, ClassifierMixin
from elsewhere import Base

class Own(ClassifierMixin, BaseEstimator):
    def __init__(self, depth=3, *, smooth=1.0): ...
    def predict_proba(self, X): ...
    fit = predict = None

class Child(Own): ...

class Open(Own):
    def __init__(self, depth=3, **others): ...

class Unknown(Base): ...

@dataclasses.dataclass
class Data(ClassifierMixin, BaseEstimator):
    depth: int = 3

class Values(BaseEstimator):
    def __init__(self, alpha=1): ...
    fit = predict = None

class Helper(BaseEstimator):
    def fit(self, X, y): ...

def make_own(): ...

made = type("Made", (Own,), {})
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module; importing it would fail, since `elsewhere` is not there."""
    (tmp_path / "own_estimators.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (signatures.estimator, signatures._tree, signatures._names):
        cached.cache_clear()
    return "own_estimators"


def test_an_estimator_of_ones_own_is_read_and_never_imported(own: str) -> None:
    for name, wrong in (("Own", "dept"), ("Child", "dept"), ("Values", "depth")):
        signatures.check_path(f"{own}.{name}")
        with pytest.raises(SpecError, match=f"{name} has no parameter '{wrong}'"):
            signatures.check_parameter(f"{own}.{name}", wrong)
    signatures.check_parameter(f"{own}.Child", "smooth")
    for name in ("Open", "Unknown", "Data", "made"):  # what the source leaves open is left to the training
        signatures.check_parameter(f"{own}.{name}", "anything")
    assert own not in sys.modules


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("os.system", "belongs to Python itself"),
        ("subprocess.Popen", "belongs to Python itself"),
        ("sklearn.linear_model", "it is a module"),
        ("sklearn.linear_model.ridge_regression", "it is a function"),
        ("sklean.linear_model.Ridge", "'sklean' is not installed.*did you mean 'sklearn'"),
        ("sklearn.preprocessing.StandardScaler", r"it has no predict\(\)"),
        ("sklearn.model_selection.TimeSeriesSplit", r"it has no fit\(\) and no predict\(\) and no get_params\(\)"),
        ("own_estimators.Helper", r"it has no predict\(\)"),
        ("own_estimators.make_own", "it is a function"),
    ],
)
def test_what_cannot_be_an_estimator_is_refused(own: str, path: str, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        signatures.check_path(path)
    assert re.search(text, str(caught.value), re.DOTALL)
    assert own not in sys.modules


def test_every_estimator_of_the_libraries_is_taken() -> None:
    found = [one for kind in ("classifier", "regressor") for _, one in all_estimators(kind)]
    boosters = ("lightgbm.LGBM", "xgboost.XGB", "catboost.CatBoost")
    paths = [f"{one.__module__.partition('._')[0]}.{one.__name__}" for one in found]
    for path in [*paths, *(f"{name}{kind}" for name in boosters for kind in ("Classifier", "Regressor"))]:
        signatures.check_path(path)


def test_an_estimator_fits_the_kind_of_the_target(own: str) -> None:
    ridge, svc, tree = "sklearn.linear_model.Ridge", "sklearn.svm.LinearSVC", "sklearn.tree.DecisionTreeClassifier"
    for path, kind, text in (
        (ridge, "binary", "predicts values; target.kind binary needs classes"),
        (ridge, "multiclass", "predicts values"),
        (tree, "regression", "predicts classes; target.kind regression needs values"),
        (f"{own}.Own", "regression", "predicts classes"),
        (svc, "binary", "gives no probabilities"),
    ):
        with pytest.raises(SpecError, match=text):
            signatures.check_kind(path, kind, calibrated=False)
    signatures.check_kind(svc, "binary", calibrated=True)
    for path, kind in (
        (ridge, "regression"),
        (tree, "multiclass"),
        (f"{own}.Values", "regression"),
        (f"{own}.Unknown", "binary"),
    ):
        signatures.check_kind(path, kind, calibrated=False)
