"""What happens to features before an estimator sees them: the first steps of the model's Pipeline, and their fit.

    preprocess   ColumnTransformer: `numbers` (passthrough, or imputer and scaler), `categories` (encoder)
    select       SelectKBest, where requested
    reduce       PCA, where requested
    estimator    made in ml/estimators.py

Missing numbers and unknown categories are part of real data: each combination handles both, or is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_assets.errors import TrainingError

if TYPE_CHECKING:
    import pandas as pd

    from ml_assets.spec.model import Preprocess

# Feature name -> "number" or "category".
FeatureTypes = Mapping[str, str]
Step = tuple[str, Any]
Array = np.ndarray[Any, Any]

# Rows that are transformed or scored at a time: whole frames would be held several times over.
CHUNK_ROWS = 100_000
RARE_BELOW_ROWS = 20
TARGET_TYPES = {"regression": "continuous"}


def make_steps(estimator: Any, types: FeatureTypes, options: Preprocess, kind: str, seed: int) -> list[Step]:
    """The unfitted steps before the estimator.

    An estimator that takes missing numbers (trees) gets its numbers as they are and categories as codes; any other
    gets medians for missing numbers, unit variance, and one column per frequent category. `options` override that.

    Args:
        estimator: Unfitted estimator.
        types: Feature name -> number | category, in the order of the model's columns.
        options: Keys of the YAML's `preprocess`.
        kind: binary, multiclass or regression.
        seed: Seed of the target encoder's folds and of principal components.

    Raises:
        TrainingError: Missing numbers would reach something that does not take them.
    """
    steps: list[Step] = [("preprocess", _columns(estimator, types, options, kind, seed))]
    if options.select is not None:
        from sklearn.feature_selection import SelectKBest, f_classif, f_regression

        test = f_regression if kind == "regression" else f_classif
        steps.append(("select", SelectKBest(test, k=options.select)))
    if options.reduce is not None:
        from sklearn.decomposition import PCA

        components = int(options.reduce) if options.reduce >= 1 else options.reduce
        steps.append(("reduce", PCA(n_components=components, random_state=seed)))
    return steps


def _columns(estimator: Any, types: FeatureTypes, options: Preprocess, kind: str, seed: int) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.utils import get_tags

    tags = get_tags(estimator).input_tags
    narrowed = options.select is not None or options.reduce is not None
    handles_missing = tags.allow_nan and not narrowed
    numbers = [name for name, word in types.items() if word == "number"]
    categories = [name for name, word in types.items() if word == "category"]
    impute = options.impute or ("none" if handles_missing else "median")
    scale = options.scale or ("none" if tags.allow_nan and options.reduce is None else "standard")
    encode = options.encode or ("ordinal" if tags.allow_nan else "onehot")
    if impute == "none" and numbers and not handles_missing:
        who = "select and reduce take" if narrowed else f"{type(estimator).__name__} takes"
        raise TrainingError(
            f"{who} no missing numbers, and new rows may have them.",
            found="preprocess: {impute: none}",
            fix="Set impute: median, or leave it out.",
        )
    sparse = tags.sparse and options.reduce is None
    return ColumnTransformer(
        [
            ("numbers", _numbers(impute, scale), numbers),
            ("categories", _encoder(encode, handles_missing, sparse, kind, seed), categories),
        ]
    )


def _numbers(impute: str, scale: str) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

    scalers = {"standard": StandardScaler, "robust": RobustScaler, "minmax": MinMaxScaler}
    steps: list[Any] = [] if impute == "none" else [SimpleImputer(strategy=impute, add_indicator=True)]
    steps += [scalers[scale]()] if scale != "none" else []
    return make_pipeline(*steps) if steps else "passthrough"


def _encoder(encode: str, handles_missing: bool, sparse: bool, kind: str, seed: int) -> Any:
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

    if encode == "onehot":
        return OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE_BELOW_ROWS, sparse_output=sparse)
    if encode == "target":
        return TargetEncoder(target_type=TARGET_TYPES.get(kind, kind), shuffle=True, random_state=seed)
    missing = np.nan if handles_missing else -1
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=missing)


def fit_transform(steps: Sequence[Step], rows: pd.DataFrame, labels: Array) -> Any:
    """Fit the steps before the estimator, and return what the estimator is fitted on: shape (n, columns).

    More columns to select, or components to keep, than there are means all of them. Warnings are dropped: they speak
    of columns that are constant in these rows.
    """
    matrix: Any = rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, step in steps:
            if name == "preprocess":
                matrix = _fit_columns(step, rows, labels)
                continue
            if name == "select":
                step.set_params(k=min(step.k, matrix.shape[1]))
            elif step.n_components >= 1:
                step.set_params(n_components=min(step.n_components, *matrix.shape))
            matrix = step.fit_transform(matrix, labels)
    return matrix


def transform(steps: Sequence[Step], rows: pd.DataFrame) -> Any:
    """Rows as the estimator sees them, shape (n, columns), made a chunk at a time."""
    made: Any = None
    parts = []
    for start in range(0, max(len(rows), 1), CHUNK_ROWS):
        part: Any = rows.iloc[start : start + CHUNK_ROWS]
        for _, step in steps:
            part = step.transform(part)
        if not isinstance(part, np.ndarray):
            parts.append(part)
            continue
        if made is None:
            made = np.empty((len(rows), part.shape[1]), part.dtype)
        made[start : start + len(part)] = part
    if made is not None:
        return made
    from scipy.sparse import vstack

    return vstack(parts, format="csr")


def _fit_columns(columns: Any, rows: pd.DataFrame, labels: Array) -> Any:
    """The fitted ColumnTransformer's output.

    Where numbers pass as they are and categories become codes, one row of each category tells all there is to fit;
    scikit-learn's own fit_transform would hold every number three times.
    """
    from sklearn.preprocessing import OrdinalEncoder

    (_, number, _), (_, encoder, categories) = columns.transformers
    if number != "passthrough" or not isinstance(encoder, OrdinalEncoder):
        return columns.fit_transform(rows, labels)
    first = np.zeros(len(rows), dtype=bool)
    first[0] = True
    for name in categories:
        first |= ~rows[name].duplicated().to_numpy()
    columns.fit(rows[first])
    return transform([("preprocess", columns)], rows)
