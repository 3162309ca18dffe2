"""Tree ensembles: the TreeEnsemble operator of ai.onnx.ml 5 in double precision.

Its own links are not used: onnxruntime ignores LOGISTIC for a single target. Sums come out; what follows is a node.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml_assets.ml.onnx.graph import Graph, NotExportable

Array = np.ndarray[Any, Any]
LEQ, MEMBER = 0, 6
SUM, NO_LINK = 1, 0
MOST_NODES = 5_000_000  # about 300 MB


@dataclass
class Tree:
    """One tree as arrays over its nodes; node 0 is the root.

    Args:
        feature: Column that a node looks at.
        threshold: Values at or below it go left.
        left: Left child.
        right: Right child.
        is_leaf: Is it a leaf?
        value: What a leaf adds to its target.
        missing_left: Do missing values go left?
        left_sets: Node -> categories that go left, for nodes that look at a category.
        known: Column of a category -> all that it knows.
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    is_leaf: Array
    value: Array
    missing_left: Array
    left_sets: dict[int, set[int]] = field(default_factory=dict)
    known: dict[int, set[int]] = field(default_factory=dict)


class Ensemble:
    """Trees whose leaves add up, for each target in the order in which they are added."""

    def __init__(self, targets: int = 1) -> None:
        self.targets = targets
        self.roots: list[int] = []
        self._nodes: dict[str, list[Array]] = {name: [] for name in NODE_PARTS}
        self._weights: list[Array] = []
        self._leaf_targets: list[Array] = []
        self._sets: list[float] = []
        self._count, self._leaves = 0, 0

    def constant(self, value: float, target: int = 0) -> None:
        """Add the same number for every row."""
        self._append([0], [LEQ], [0.0], [self._leaves], [True], [self._leaves], [True], [False])
        self._leaf(np.array([value]), target)

    def tree(self, tree: Tree, target: int = 0) -> None:
        """Add a tree."""
        inner, leaves = np.flatnonzero(~tree.is_leaf), np.flatnonzero(tree.is_leaf)
        if not len(inner):
            self.constant(float(tree.value[0]), target)
            return
        place = np.empty(len(tree.is_leaf), dtype=np.int64)
        place[inner] = self._count + np.arange(len(inner))
        place[leaves] = self._leaves + np.arange(len(leaves))
        modes = np.full(len(inner), LEQ)
        yes, no = tree.left[inner].astype(np.int64), tree.right[inner].astype(np.int64)
        missing = tree.missing_left[inner].astype(bool)
        for number in np.flatnonzero(np.isin(inner, list(tree.left_sets))):
            node = int(inner[number])
            members = tree.left_sets[node]
            if missing[number]:  # missing and unknown values are members of nothing: they follow the false branch
                members = tree.known[int(tree.feature[node])] - members
                yes[number], no[number] = no[number], yes[number]
            missing[number], modes[number] = False, MEMBER
            self._sets += [*(sorted(map(float, members)) or [-1e300]), np.nan]
        self._append(
            tree.feature[inner],
            modes,
            np.where(modes == LEQ, tree.threshold[inner], 0.0),
            place[yes],
            tree.is_leaf[yes],
            place[no],
            tree.is_leaf[no],
            missing,
        )
        self._leaf(tree.value[leaves], target)

    def _append(self, *columns: Any) -> None:
        self.roots.append(self._count)
        for name, values in zip(NODE_PARTS, columns, strict=True):
            self._nodes[name].append(np.asarray(values))
        self._count += len(columns[0])
        if self._count > MOST_NODES:
            raise NotExportable(f"more than {MOST_NODES:,} nodes")

    def _leaf(self, values: Array, target: int) -> None:
        self._weights.append(np.asarray(values, dtype=np.float64))
        self._leaf_targets.append(np.full(len(values), target))
        self._leaves += len(values)

    def add_to(self, graph: Graph, x: str) -> str:
        """Add the operator; returns the sums [rows, targets]."""
        from onnx import numpy_helper

        def joined(name: str) -> Array:
            return np.concatenate(self._nodes[name])

        def tensor(values: Any, dtype: Any) -> Any:
            return numpy_helper.from_array(np.asarray(values, dtype=dtype))

        sets = {"membership_values": tensor(self._sets, np.float64)} if self._sets else {}
        whole = {name: joined(name).astype(np.int64).tolist() for name in NODE_PARTS if name not in TENSORS}
        return graph.add(
            "TreeEnsemble",
            x,
            n_targets=self.targets,
            aggregate_function=SUM,
            post_transform=NO_LINK,
            tree_roots=self.roots,
            leaf_weights=tensor(np.concatenate(self._weights), np.float64),
            leaf_targetids=np.concatenate(self._leaf_targets).tolist(),
            **{name: tensor(joined(name), dtype) for name, dtype in TENSORS.items()},
            **whole,
            **sets,
        )


TENSORS = {"nodes_modes": np.uint8, "nodes_splits": np.float64}
NODE_PARTS = (
    "nodes_featureids",
    "nodes_modes",
    "nodes_splits",
    "nodes_truenodeids",
    "nodes_trueleafs",
    "nodes_falsenodeids",
    "nodes_falseleafs",
    "nodes_missing_value_tracks_true",
)


def sklearn_tree(tree: Any, value: Array) -> Tree:
    """A tree of scikit-learn's forests and gradient boosting; `value` is what each node adds as a leaf."""
    is_leaf = tree.children_left == -1
    return Tree(
        feature=tree.feature,
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        is_leaf=is_leaf,
        value=value,
        missing_left=tree.missing_go_to_left,
    )


def histogram_tree(predictor: Any, known: dict[int, set[int]]) -> Tree:
    """A tree of histogram gradient boosting."""
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    sets = {
        int(node): bits(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]])
        for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf)
    }
    return Tree(
        feature=nodes["feature_idx"],
        threshold=nodes["num_threshold"],
        left=nodes["left"],
        right=nodes["right"],
        is_leaf=is_leaf,
        value=nodes["value"],
        missing_left=nodes["missing_go_to_left"],
        left_sets=sets,
        known=known,
    )


def bits(words: Array) -> set[int]:
    """Numbers below 256 that are in a set of eight 32-bit words."""
    return {number for number in range(256) if int(words[number // 32]) >> (number % 32) & 1}


def interpolated(graph: Graph, x: str, xs: Array, ys: Array) -> str:
    """Linear interpolation between points, constant beyond both ends; `x` and the result are [rows, 1].

    A balanced tree finds the two neighbours and gives the left one's x and y, and the slope between them.
    """
    if len(xs) < 2:
        return graph.add("Add", graph.add("Mul", x, graph.constant(0.0)), graph.constant(float(ys[0])))
    inside = graph.add("Max", graph.add("Min", x, graph.constant(xs[-1])), graph.constant(xs[0]))
    ensemble = Ensemble(targets=3)
    for target, values in enumerate((xs[:-1], ys[:-1], np.diff(ys) / np.diff(xs))):
        ensemble.tree(_search_tree(np.asarray(xs[1:-1]), np.asarray(values)), target)
    found = ensemble.add_to(graph, inside)
    left, low, slope = (graph.columns(found, [target]) for target in range(3))
    return graph.add("Add", graph.add("Mul", slope, graph.add("Sub", inside, left)), low)


def _search_tree(bounds: Array, values: Array) -> Tree:
    """The balanced tree that gives values[i] for x in (bounds[i - 1], bounds[i]]."""
    rows: list[list[Any]] = []

    def grow(first: int, last: int) -> int:
        number = len(rows)
        if first == last:
            rows.append([0.0, -1.0, -1.0, 1.0, values[first]])
            return number
        middle = (first + last) // 2
        rows.append([bounds[middle], 0.0, 0.0, 0.0, 0.0])
        rows[number][1], rows[number][2] = grow(first, middle), grow(middle + 1, last)
        return number

    grow(0, len(values) - 1)
    table = np.array(rows, dtype=np.float64)
    nothing = np.zeros(len(rows), dtype=np.int64)
    left, right = table[:, 1].astype(np.int64), table[:, 2].astype(np.int64)
    return Tree(nothing, table[:, 0], left, right, table[:, 3].astype(bool), table[:, 4], nothing)
