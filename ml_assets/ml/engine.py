"""An ONNX model that predicts like a scikit-learn one: from a feature frame, or from plain columns without pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
CHUNK_ROWS = 20_000  # bounds the memory of what lies between two nodes


class OnnxModel:
    """A loaded model file.

    Args:
        proto: The file's bytes.
        features: Feature -> number | category, in the model's order.
        categories: Feature -> values that the model knows, in the order of their codes.
    """

    def __init__(self, proto: bytes, features: Mapping[str, str], categories: Mapping[str, Sequence[str]]) -> None:
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # on Windows its variable has no effect
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
        self._features = dict(features)
        self._codes: dict[str, dict[Any, int]] = {
            name: {value: code for code, value in enumerate(values)} for name, values in categories.items()
        }

    def predict_proba(self, frame: pd.DataFrame) -> Array:
        """Probabilities, shape (rows, classes)."""
        return self.predict_columns({name: frame[name].to_numpy() for name in self._features})

    def predict(self, frame: pd.DataFrame) -> Array:
        """Values of a regression, shape (rows,)."""
        return self.predict_proba(frame)[:, 0]

    def predict_columns(self, columns: Mapping[str, Sequence[Any] | Array]) -> Array:
        """Predictions for columns of numbers and texts; None and NaN are missing; (rows, classes) or (rows, 1)."""
        matrix = np.empty((len(next(iter(columns.values()))), len(self._features)))
        for number, (name, kind) in enumerate(self._features.items()):
            matrix[:, number] = columns[name] if kind == "number" else self._coded(name, columns[name])
        chunks = [matrix[start : start + CHUNK_ROWS] for start in range(0, len(matrix), CHUNK_ROWS)] or [matrix]
        return np.concatenate([self._session.run(None, {"X": chunk})[0] for chunk in chunks])

    def _coded(self, name: str, values: Sequence[Any] | Array) -> list[int]:
        codes = self._codes.get(name, {})  # a category that no training row had: the graph does not look at it
        missing, unknown = len(codes), len(codes) + 1
        return [
            missing if value is None or value != value else codes.get(value, unknown)  # NaN alone is not itself
            for value in values
        ]
