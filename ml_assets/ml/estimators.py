"""Estimators by import path, and the preprocessing that each kind of estimator needs.

Missing numbers and unknown categories are part of real data: every model built here accepts both.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.errors import SpecError, TrainingError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Feature name -> "number" or "category".
FeatureTypes = Mapping[str, str]

NUMBER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "BOOLEAN")


def feature_type(sql_type: str) -> str | None:
    """`number`, `category`, or None for a SQL type that no estimator takes."""
    if sql_type in NUMBER_TYPES or sql_type.startswith("DECIMAL"):
        return "number"
    return "category" if sql_type == "VARCHAR" else None


def check_path(path: str) -> None:
    """Refuse an estimator that does not exist, without paying for its import.

    Raises:
        SpecError: The module is not installed, or has no such name.
    """
    module, _, name = path.rpartition(".")
    top = module.split(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise SpecError(
            f"The estimator's package {top!r} is not installed.",
            found=path,
            fix=f"pip install {top}, or correct the path.",
        )
    names = _names(module)
    if names is not None and name not in names:
        raise SpecError(f"{module} has no {name!r}; {_near_class(name, names)}", found=path)


def _near_class(name: str, names: frozenset[str]) -> str:
    classes = [word for word in names if word[:1].isupper()]
    return did_you_mean(name, classes or names)


@cache
def _names(module: str) -> frozenset[str] | None:
    """Names that a module's source defines or imports; None where that cannot be told without importing it."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    base = Path(spec.origin).parent
    path = base.joinpath(*rest)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not rest and not spec.submodule_search_locations:
        file = Path(spec.origin)
    if not file.exists():
        raise SpecError(f"There is no module {module!r}.", fix="Correct the estimator's import path.")
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            names.add(node.value)  # names of lazily loaded modules stand in __all__ as strings
    return None if "*" in names else frozenset(names)


def estimator_class(path: str) -> type:
    """The class at an import path.

    Raises:
        TrainingError: It cannot be imported, or is not an estimator.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise TrainingError("The estimator cannot be imported.", found=f"{path}: {error}") from error
    if not (inspect.isclass(found) and hasattr(found, "fit") and hasattr(found, "get_params")):
        raise TrainingError("The estimator has no fit() and get_params().", found=path)
    return found


def class_path(path: str) -> str:
    """Module and name under which a model file knows the class at an import path."""
    found = estimator_class(path)
    return f"{found.__module__}.{found.__qualname__}"


def make_estimator(path: str, params: Mapping[str, Any], seed: int) -> Any:
    """An unfitted estimator; seeded where it takes a seed.

    Raises:
        TrainingError: A parameter that the estimator does not have.
    """
    kind = estimator_class(path)
    valid = list(inspect.signature(kind.__init__).parameters)[1:]  # type: ignore[misc]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(kind.__init__).parameters.values())  # type: ignore[misc]
    for name in params:
        if name not in valid and not takes_any:
            raise TrainingError(f"{path} has no parameter {name!r}; {did_you_mean(name, valid)}")
    seeded = {"random_state": seed} if "random_state" in valid and "random_state" not in params else {}
    return kind(**{**params, **seeded})


def fit_model(
    path: str, params: Mapping[str, Any], features: pd.DataFrame, labels: Any, types: FeatureTypes, seed: int
) -> Any:
    """A fitted model: preprocessing and estimator as one Pipeline, on those features that have a value.

    Its warnings are dropped: the search keeps those of the same parameters with their trial.
    """
    model = make_model(path, params, present(features, types), seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(features, labels)


def make_preprocessor(estimator: Any, types: FeatureTypes) -> Any:
    """The preprocessing that suits an estimator.

    An estimator that takes missing numbers (trees) gets its numbers as they are and categories as codes; any other
    gets medians for missing numbers, unit variance, and one column per frequent category.

    Args:
        estimator: Unfitted estimator.
        types: Feature name -> number | category, in the order of the model's columns.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
    from sklearn.utils import get_tags

    numbers = [name for name, kind in types.items() if kind == "number"]
    categories = [name for name, kind in types.items() if kind == "category"]
    if get_tags(estimator).input_tags.allow_nan:
        number: Any = "passthrough"
        category: Any = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    else:
        number = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
        category = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20)
    return ColumnTransformer([("numbers", number, numbers), ("categories", category, categories)])


def make_model(path: str, params: Mapping[str, Any], types: FeatureTypes, seed: int) -> Any:
    """An unfitted model: preprocessing and estimator as one scikit-learn Pipeline over a feature frame."""
    from sklearn.pipeline import Pipeline

    estimator = make_estimator(path, params, seed)
    return Pipeline([("preprocess", make_preprocessor(estimator, types)), ("estimator", estimator)])


def present(features: pd.DataFrame, types: FeatureTypes) -> dict[str, str]:
    """The types of those features that have a value in some row: nothing can be learned from the others.

    A lookup has none in the first batch, for example.

    Raises:
        TrainingError: No feature has a value.
    """
    found = {name: kind for name, kind in types.items() if features[name].notna().any()}
    if not found:
        raise TrainingError("No feature has a value in the training rows.", found=", ".join(types))
    return found


def feature_frame(frame: pd.DataFrame, types: FeatureTypes) -> pd.DataFrame:
    """The model's columns in its order: numbers as float64, categories as str, missing values as NaN."""
    import numpy as np
    import pandas as pd

    columns = {}
    for name, kind in types.items():
        if kind == "number":
            columns[name] = frame[name].astype("float64")
        else:
            text = frame[name].astype(object)
            columns[name] = text.where(text.notna(), np.nan)
    return pd.DataFrame(columns, index=frame.index)


def label_array(labels: pd.Series, kind: str) -> np.ndarray[Any, Any]:
    """Labels as the metrics take them: 0/1 (binary), str (multiclass), float64 (regression).

    Raises:
        TrainingError: A binary label that is neither true/false nor 0/1.
    """
    import numpy as np

    if kind == "regression":
        return labels.to_numpy(dtype="float64")
    if kind == "multiclass":
        return labels.astype(str).to_numpy(dtype=str)
    values = set(labels.unique().tolist())
    if not values <= {0, 1}:
        raise TrainingError(
            "A binary target is true/false or 1/0.",
            found=sorted(map(str, values))[:5],
            fix="Write target.sql as a predicate.",
        )
    return labels.to_numpy(dtype=np.int64)


def predict_scores(model: Any, features: Any, kind: str) -> np.ndarray[Any, Any]:
    """What a model says: probability of 1 (binary), one probability a class (multiclass), value (regression)."""
    import numpy as np

    if kind == "regression":
        return np.asarray(model.predict(features), dtype="float64")
    return scores_of(np.asarray(model.predict_proba(features), dtype="float64"), kind)


def scores_of(answers: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """Scores from probabilities (rows, classes), or from values (rows, 1)."""
    if kind == "multiclass":
        return answers
    return answers[:, 1] if kind == "binary" else answers[:, 0]
