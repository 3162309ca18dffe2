"""Estimators by import path, the model that one becomes, and the arrays that models take and give."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml_assets.errors import TrainingError, did_you_mean
from ml_assets.ml import balancing, preprocessing
from ml_assets.ml.preprocessing import CHUNK_ROWS, FeatureTypes

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ml_assets.spec.model import Candidate, Preprocess

# Parameters that say how many threads an estimator uses.
THREADS = ("n_jobs", "thread_count")
# What keeps a library from writing to the terminal or into the working directory, by the package's name.
QUIET: dict[str, dict[str, Any]] = {
    "lightgbm": {"verbose": -1},
    "xgboost": {"verbosity": 0},
    "catboost": {"verbose": False, "allow_writing_files": False},
}
SAYS_MORE = ("verbose", "verbosity", "silent", "logging_level")


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


def make_estimator(path: str, params: Mapping[str, Any], seed: int, threads: int | None = None) -> Any:
    """An unfitted estimator; seeded where it takes a seed, and quiet unless its parameters say otherwise.

    Args:
        path: Import path.
        params: Parameters of the YAML.
        seed: Seed.
        threads: Threads that it may use, whatever its parameters say; None leaves it to them.

    Raises:
        TrainingError: A parameter that the estimator does not have.
    """
    names, takes_any = _parameters(path)
    for name in params:
        if name not in names and not takes_any:
            raise TrainingError(f"{path} has no parameter {name!r}; {did_you_mean(name, names)}")
    own: dict[str, Any] = dict(QUIET.get(path.partition(".")[0], {}))
    if any(name in params for name in SAYS_MORE):
        own = {name: value for name, value in own.items() if name not in SAYS_MORE}
    if "random_state" in names and "random_seed" not in params:
        own["random_state"] = seed
    # scikit-learn's own use one thread unless told; the others use all.
    limited = params if path.startswith("sklearn.") else names
    limits = {name: threads for name in THREADS if threads is not None and name in limited}
    return estimator_class(path)(**{**own, **params, **limits})


def _parameters(path: str) -> tuple[set[str], bool]:
    """Names of an estimator's parameters, and whether it takes others, too."""
    kind: Any = estimator_class(path)
    signature = inspect.signature(kind.__init__).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in signature.values())
    names = {name for name, one in signature.items() if one.kind is not one.VAR_KEYWORD} - {"self"}
    return names | (set(kind().get_params()) if takes_any else set()), takes_any


def make_last(
    path: str,
    params: Mapping[str, Any],
    seed: int,
    kind: str = "binary",
    balance: str = "none",
    calibrate: str | None = None,
    threads: int | None = None,
) -> Any:
    """The unfitted last step of a model: the estimator, or the calibrator around it.

    Raises:
        TrainingError: `balance` or `calibrate` for regression, or classes that are weighed twice.
    """
    if kind == "regression" and (calibrate or balance != "none"):
        raise TrainingError(
            "Values have no classes to balance and no probabilities to calibrate.",
            found=f"{'calibrate' if calibrate else 'preprocess.balance'} of a candidate",
            fix="Leave it out, or set target.kind.",
        )
    weights = balancing.class_weights(_parameters(path)[0], balance, path, params)
    estimator = make_estimator(path, {**params, **weights}, seed, threads)
    if kind == "multiclass" and path.startswith("xgboost."):
        from ml_assets.ml.wrappers import ClassCodes

        estimator = ClassCodes(estimator)
    if not calibrate:
        return estimator
    from sklearn.calibration import CalibratedClassifierCV

    return CalibratedClassifierCV(estimator, method=calibrate, ensemble=False)


def make_model(
    path: str,
    params: Mapping[str, Any],
    types: FeatureTypes,
    seed: int,
    kind: str = "binary",
    preprocess: Preprocess | None = None,
    calibrate: str | None = None,
) -> Any:
    """An unfitted model: preprocessing and estimator as one scikit-learn Pipeline over a feature frame.

    Its own fit() knows nothing of `balance` by rows, and refuses more columns or components than there are; `fit_model`
    sees to both.
    """
    from sklearn.pipeline import Pipeline

    from ml_assets.spec import model as words  # here, because a server needs no YAML and none of its libraries

    options = preprocess or words.Preprocess()
    steps = preprocessing.make_steps(make_estimator(path, params, seed), types, options, kind, seed)
    return Pipeline([*steps, ("estimator", make_last(path, params, seed, kind, options.balance, calibrate))])


def fit_model(
    candidate: Candidate,
    params: Mapping[str, Any],
    features: pd.DataFrame,
    labels: Any,
    types: FeatureTypes,
    kind: str,
    seed: int,
) -> Any:
    """A fitted model: preprocessing and estimator as one Pipeline, on those features that have a value.

    Its warnings are dropped: the search keeps those of the same parameters with their trial.

    Args:
        candidate: Estimator, preprocessing and calibration.
        params: The estimator's parameters.
        features: Feature frame, shape (n, features).
        labels: Labels, shape (n,).
        types: Feature name -> number | category.
        kind: binary, multiclass or regression.
        seed: Seed.
    """
    model, matrix = prepare_model(candidate, params, features, labels, types, kind, seed)
    return fit_last(model, matrix, labels, candidate, seed)


def prepare_model(
    candidate: Candidate,
    params: Mapping[str, Any],
    features: pd.DataFrame,
    labels: Any,
    types: FeatureTypes,
    kind: str,
    seed: int,
) -> tuple[Any, Any]:
    """The first half of `fit_model`: a model with fitted preprocessing, and what its last step is fitted on.

    The feature frame may be let go in between.
    """
    found = present(features, types)
    model = make_model(candidate.estimator, params, found, seed, kind, candidate.preprocess, candidate.calibrate)
    return model, preprocessing.fit_transform(model.steps[:-1], features, labels)


def fit_last(model: Any, matrix: Any, labels: Any, candidate: Candidate, seed: int) -> Any:
    """The second half of `fit_model`: the model, its last step fitted on preprocessed rows."""
    from ml_assets.ml.balanced_fit import fit

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(model.steps[-1][1], matrix, labels, candidate.preprocess.balance, seed)
    return model


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
            columns[name] = pd.Series(frame[name].to_numpy("float64"), frame.index, copy=False)
        else:
            text = frame[name].astype(object)
            columns[name] = text.where(text.notna(), np.nan)
    return pd.DataFrame(columns, index=frame.index, copy=False)


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

    if (
        len(getattr(features, "columns", ())) and len(features) > CHUNK_ROWS
    ):  # a frame; preprocessing would copy it whole
        parts = (features.iloc[start : start + CHUNK_ROWS] for start in range(0, len(features), CHUNK_ROWS))
        return np.concatenate([predict_scores(model, part, kind) for part in parts])
    if kind == "regression":
        return np.asarray(model.predict(features), dtype="float64")
    return scores_of(np.asarray(model.predict_proba(features), dtype="float64"), kind)


def scores_of(predictions: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """Scores from probabilities (rows, classes), or from values (rows, 1)."""
    if kind == "multiclass":
        return predictions
    return predictions[:, 1] if kind == "binary" else predictions[:, 0]


def class_names(model: Any, kind: str) -> list[str]:
    """Labels in the order of a model's probabilities (multiclass); empty otherwise."""
    return [str(name) for name in model.classes_] if kind == "multiclass" else []
