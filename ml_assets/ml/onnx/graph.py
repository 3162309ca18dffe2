"""An ONNX graph while it is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

OPSET, TREES_OPSET, IR_VERSION = 21, 5, 10
TREES = "ai.onnx.ml"
INPUT, OUTPUT = "X", "Y"


class NotExportable(Exception):
    """A model, or a part of it, whose predictions are not known to be the same in ONNX; says which and why."""


class Graph:
    """Nodes and constants in the order in which they are added. A value is known by its name."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        from onnx import helper

        name = f"v{len(self._nodes)}"
        domain = TREES if op == "TreeEnsemble" else ""
        self._nodes.append(helper.make_node(op, list(inputs), [name], domain=domain, **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float64) -> str:
        """Add a constant array; returns its name."""
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def columns(self, value: str, positions: Sequence[int] | np.ndarray[Any, Any]) -> str:
        """Columns of a matrix, in this order."""
        return self.add("Gather", value, self.constant(positions, np.int64), axis=1)

    def cast(self, value: str, dtype: Any) -> str:
        """A value as another type."""
        from onnx import helper

        return self.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def concat(self, values: Sequence[str]) -> str:
        """Matrices side by side."""
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=1)

    def finish(self, prediction: str, features: int) -> bytes:
        """The model file: input X [rows, features] and output Y [rows, predictions], both double."""
        import onnx
        from onnx import TensorProto, helper

        self._nodes.append(helper.make_node("Identity", [prediction], [OUTPUT]))
        given = helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, [None, features])
        made = helper.make_tensor_value_info(OUTPUT, TensorProto.DOUBLE, [None, None])
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(TREES, TREES_OPSET)]
        graph = helper.make_graph(self._nodes, "model", [given], [made], self._constants)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="ml_assets")
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())
