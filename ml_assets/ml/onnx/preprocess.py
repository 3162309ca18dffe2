"""What happens to features before the estimator: numbers imputed and scaled, categories encoded, columns chosen."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ml_assets.ml.onnx.graph import Graph, NotExportable

# Known to no encoder: its row of an encoder's table says what becomes of values that it has not seen.
UNSEEN = "\x00 a value that was never seen \x00"


def columns(graph: Graph, transformer: Any, features: Sequence[str], x: str) -> tuple[str, dict[str, list[str]]]:
    """The output of a fitted ColumnTransformer.

    Args:
        graph: Where nodes are added.
        transformer: The ColumnTransformer; its columns are names.
        features: Names of the columns of `x`.
        x: Matrix of numbers and codes of categories, see `encoded`.

    Returns:
        The matrix, and the known values of each category, whose positions are the codes.
    """
    if type(transformer).__name__ != "ColumnTransformer":
        raise NotExportable(f"the step preprocess is a {type(transformer).__name__}")
    pieces: list[str] = []
    known: dict[str, list[str]] = {}
    for _, part, names in transformer.transformers_:
        if not len(names) or (isinstance(part, str) and part == "drop"):
            continue
        positions = [list(features).index(name) for name in names]
        if hasattr(part, "categories_"):
            known |= {name: _values(part, number) for number, name in enumerate(names)}
            pieces += encoded(graph, part, [known[name] for name in names], positions, x)
        else:
            pieces.append(numbers(graph, part, graph.columns(x, positions)))
    return graph.concat(pieces), known


def _values(encoder: Any, number: int) -> list[str]:
    """Values that an encoder knows, the missing one left out: its code follows the others."""
    found = [value for value in encoder.categories_[number] if not (isinstance(value, float) and np.isnan(value))]
    if not all(isinstance(value, str) for value in found):
        raise NotExportable("a category whose values are not text")
    return [str(value) for value in found]


def encoded(graph: Graph, encoder: Any, known: Sequence[list[str]], positions: Sequence[int], x: str) -> list[str]:
    """The columns that an encoder makes: a table per category, whose rows are what the encoder itself says.

    The code of a value is its position among the known ones; a missing value has the code after the last, an unknown
    one the code after that.
    """
    tables = _tables(encoder, known)
    made = []
    for table, position in zip(tables, positions, strict=True):
        code = graph.cast(graph.add("Gather", x, graph.constant(position, np.int64), axis=1), np.int64)
        made.append(graph.add("Gather", graph.constant(table), code, axis=0))
    return made


def _tables(encoder: Any, known: Sequence[list[str]]) -> list[np.ndarray[Any, Any]]:
    """What an encoder makes of each value of each category: known ones, missing, unknown."""
    import pandas as pd

    probes = [[*values, np.nan, UNSEEN] for values in known]
    rows = max(map(len, probes))
    frame = pd.DataFrame({str(n): [*values, *[UNSEEN] * (rows - len(values))] for n, values in enumerate(probes)})
    if hasattr(encoder, "feature_names_in_"):
        frame.columns = encoder.feature_names_in_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the unknown value is unknown
        made = encoder.transform(frame)
    made = np.asarray(made.toarray() if hasattr(made, "toarray") else made, dtype=np.float64)
    widths = getattr(encoder, "_n_features_outs", None) or [made.shape[1] // len(known)] * len(known)
    blocks = np.split(made, np.cumsum(widths)[:-1], axis=1)
    return [block[: len(values)] for block, values in zip(blocks, probes, strict=True)]


def numbers(graph: Graph, step: Any, x: str) -> str:
    """The output of a fitted imputer, scaler, selection or projection, or of a Pipeline of them."""
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return x
    name = type(step).__name__
    if name == "Pipeline":
        for _, one in step.steps:
            x = numbers(graph, one, x)
        return x
    if name not in STEPS:
        raise NotExportable(f"the transformer {name}")
    return STEPS[name](graph, step, x)


def _function(graph: Graph, step: Any, x: str) -> str:  # noqa: ARG001 - the same parameters for each step
    if step.func is not None:
        raise NotExportable("a FunctionTransformer with a function")
    return x


def _imputer(graph: Graph, step: Any, x: str) -> str:
    if not (isinstance(step.missing_values, float) and np.isnan(step.missing_values)):
        raise NotExportable(f"an imputer of {step.missing_values!r}")
    statistics = np.asarray(step.statistics_, dtype=np.float64)
    used = np.flatnonzero(~np.isnan(statistics))  # a column without any value is dropped
    values = graph.columns(x, used)
    pieces = [graph.add("Where", graph.add("IsNaN", values), graph.constant(statistics[used]), values)]
    if step.add_indicator and len(step.indicator_.features_):
        missing = graph.add("IsNaN", graph.columns(x, step.indicator_.features_))
        pieces.append(graph.cast(missing, np.float64))
    return graph.concat(pieces)


def _shifted(graph: Graph, x: str, centre: Any, scale: Any) -> str:
    if centre is not None:
        x = graph.add("Sub", x, graph.constant(centre))
    return x if scale is None else graph.add("Div", x, graph.constant(scale))


def _standard(graph: Graph, step: Any, x: str) -> str:
    return _shifted(graph, x, step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None)


def _robust(graph: Graph, step: Any, x: str) -> str:
    return _shifted(graph, x, step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None)


def _minmax(graph: Graph, step: Any, x: str) -> str:
    if step.clip:
        raise NotExportable("a MinMaxScaler that clips")
    return graph.add("Add", graph.add("Mul", x, graph.constant(step.scale_)), graph.constant(step.min_))


def _select(graph: Graph, step: Any, x: str) -> str:
    return graph.columns(x, step.get_support(indices=True))


def _components(graph: Graph, step: Any, x: str) -> str:
    made = graph.add("MatMul", graph.add("Sub", x, graph.constant(step.mean_)), graph.constant(step.components_.T))
    return _shifted(graph, made, None, np.sqrt(step.explained_variance_)) if step.whiten else made


STEPS = {
    "FunctionTransformer": _function,
    "SimpleImputer": _imputer,
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _minmax,
    "SelectKBest": _select,
    "PCA": _components,
}
