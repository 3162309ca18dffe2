"""The export of a whole Pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_assets.ml.onnx import estimators, preprocess
from ml_assets.ml.onnx.graph import INPUT, Graph, NotExportable


@dataclass(frozen=True)
class Exported:
    """A model as ONNX.

    Args:
        proto: The model file. Input X [rows, features] double, output Y [rows, classes] or [rows, 1] double.
        categories: Feature -> values that the model knows. A value's code is its position; a missing value has the
            code after the last one, an unknown value the code after that.
        features: Feature -> number | category, in the order of the columns of X.
    """

    proto: bytes
    categories: dict[str, list[str]]
    features: dict[str, str]


def export(model: Any, types: Mapping[str, str]) -> Exported:
    """A fitted Pipeline with the steps preprocess, perhaps select and reduce, and estimator.

    Args:
        model: The Pipeline.
        types: Feature name -> number | category, of the frame that it takes.

    Raises:
        NotExportable: A step or estimator whose predictions are not known to be the same in ONNX.
    """
    steps = dict(getattr(model, "steps", {}))
    if list(steps)[:1] != ["preprocess"] or list(steps)[-1:] != ["estimator"]:
        raise NotExportable("the model is not a Pipeline of preprocess and estimator")
    graph = Graph()
    x, categories = preprocess.columns(graph, steps.pop("preprocess"), list(types), INPUT)
    estimator = steps.pop("estimator")
    for step in steps.values():
        x = preprocess.numbers(graph, step, x)
    proto = graph.finish(estimators.predictions(graph, estimator, x), len(types))
    return Exported(proto=proto, categories=categories, features=dict(types))
