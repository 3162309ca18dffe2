"""What an estimator predicts: sums of trees or of weighted columns, then a link, then calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml_assets.ml.onnx.graph import Graph, NotExportable
from ml_assets.ml.onnx.trees import Ensemble, bits, histogram_tree, interpolated, sklearn_tree

# Names of scikit-learn's links -> ours. `none`: the values are probabilities already.
LINKS = {
    "IdentityLink": "identity",
    "LogLink": "exp",
    "LogitLink": "sigmoid",
    "HalfLogitLink": "half_sigmoid",
    "MultinomialLogit": "softmax",
}


@dataclass(frozen=True)
class Raw:
    """What an estimator says before its link.

    Args:
        value: Matrix [rows, 1] (binary, regression) or [rows, classes].
        link: identity, exp, sigmoid, half_sigmoid or softmax; probability, where `value` holds probabilities.
    """

    value: str
    link: str


def predictions(graph: Graph, estimator: Any, x: str) -> str:
    """Probabilities [rows, classes], or values [rows, 1]."""
    if type(estimator).__name__ == "CalibratedClassifierCV":
        return _calibrated(graph, estimator, x)
    raw = _raw(graph, estimator, x)
    if raw.link == "identity":
        return raw.value
    if raw.link == "exp":
        return graph.add("Exp", raw.value)
    if raw.link == "softmax":
        return graph.add("Softmax", raw.value, axis=1)
    positive = raw.value
    if raw.link == "half_sigmoid":
        positive = graph.add("Mul", positive, graph.constant(2.0))
    if raw.link != "probability":
        positive = graph.add("Sigmoid", positive)
    return positive if len(estimator.classes_) > 2 else _both(graph, positive)


def _both(graph: Graph, positive: str) -> str:
    return graph.concat([graph.add("Sub", graph.constant(1.0), positive), positive])


def _raw(graph: Graph, estimator: Any, x: str) -> Raw:
    name = type(estimator).__name__
    if not type(estimator).__module__.startswith("sklearn.") or name not in KINDS:
        raise NotExportable(f"the estimator {type(estimator).__module__.split('.')[0]} {name}")
    if getattr(estimator, "n_outputs_", 1) != 1:
        raise NotExportable(f"{name} with several outputs")
    return KINDS[name](graph, estimator, x)


def _single_precision(graph: Graph, x: str) -> str:
    """As scikit-learn's trees see their input: rounded to 32 bits."""
    return graph.cast(graph.cast(x, np.float32), np.float64)


def _link(estimator: Any) -> str:
    name = type(estimator._loss.link).__name__
    if name not in LINKS:
        raise NotExportable(f"the link {name} of {type(estimator).__name__}")
    return LINKS[name]


def _histogram(graph: Graph, estimator: Any, x: str) -> Raw:
    if estimator._preprocessor is not None:
        x = _native_categories(graph, estimator, x)
    known_bits, places = estimator._bin_mapper.make_known_categories_bitsets()
    known = {
        int(column): bits(known_bits[places[column]])
        for column in np.flatnonzero(estimator._bin_mapper.is_categorical_)
    }
    targets = estimator.n_trees_per_iteration_
    ensemble = Ensemble(targets)
    for target, value in enumerate(np.ravel(estimator._baseline_prediction)):
        ensemble.constant(float(value), target)
    for iteration in estimator._predictors:
        for target, predictor in enumerate(iteration):
            ensemble.tree(histogram_tree(predictor, known), target)
    return Raw(ensemble.add_to(graph, x), _link(estimator))


def _native_categories(graph: Graph, estimator: Any, x: str) -> str:
    """Its own encoder: categories first; codes stay as they are, unknown ones become missing."""
    encoder = estimator._preprocessor.named_transformers_["encoder"]
    for values in encoder.categories_:
        codes = np.asarray(values, dtype=np.float64)
        codes = codes[~np.isnan(codes)]
        if not np.array_equal(codes, np.arange(len(codes))):
            raise NotExportable("categorical_features that are not encoded categories")
    is_category = np.asarray(estimator.is_categorical_)
    codes_ = graph.columns(x, np.flatnonzero(is_category))
    unknown = graph.add("Less", codes_, graph.constant(0.0))
    pieces = [graph.add("Where", unknown, graph.constant(np.nan), codes_)]
    if not is_category.all():
        pieces.append(graph.columns(x, np.flatnonzero(~is_category)))
    return graph.concat(pieces)


def _forest(graph: Graph, estimator: Any, x: str) -> Raw:
    trees = getattr(estimator, "estimators_", [estimator])
    classes = len(estimator.classes_) if hasattr(estimator, "classes_") else 0
    picked = [0] if not classes else [1] if classes == 2 else list(range(classes))
    if classes == 1:
        raise NotExportable("a classifier of one class")
    ensemble = Ensemble(len(picked))
    for one in trees:
        values = one.tree_.value[:, 0, :]
        for target, column in enumerate(picked):
            ensemble.tree(sklearn_tree(one.tree_, values[:, column]), target)
    sums = ensemble.add_to(graph, _single_precision(graph, x))
    mean = graph.add("Div", sums, graph.constant(float(len(trees))))
    return Raw(mean, "probability" if classes else "identity")


def _gradient_boosting(graph: Graph, estimator: Any, x: str) -> Raw:
    if type(estimator.init_).__name__ not in ("DummyClassifier", "DummyRegressor", "str"):
        raise NotExportable("a first estimator (init) of gradient boosting")
    start = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32))[0]
    ensemble = Ensemble(len(start))
    for target, value in enumerate(start):
        ensemble.constant(float(value), target)
    for iteration in estimator.estimators_:
        for target, one in enumerate(iteration):
            tree = one.tree_
            ensemble.tree(sklearn_tree(tree, estimator.learning_rate * tree.value[:, 0, 0]), target)
    link = _link(estimator) if hasattr(estimator, "classes_") else "identity"
    return Raw(ensemble.add_to(graph, _single_precision(graph, x)), link)


def _linear(graph: Graph, estimator: Any, x: str) -> Raw:
    weights = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64))
    product = graph.add("MatMul", x, graph.constant(weights.T))
    value = graph.add("Add", product, graph.constant(np.ravel(estimator.intercept_)))
    if not hasattr(estimator, "classes_"):
        return Raw(value, "identity")
    return Raw(value, "sigmoid" if len(weights) == 1 else "softmax")


KINDS: dict[str, Callable[[Graph, Any, str], Raw]] = {
    "HistGradientBoostingClassifier": _histogram,
    "HistGradientBoostingRegressor": _histogram,
    "RandomForestClassifier": _forest,
    "RandomForestRegressor": _forest,
    "ExtraTreesClassifier": _forest,
    "ExtraTreesRegressor": _forest,
    "DecisionTreeClassifier": _forest,
    "DecisionTreeRegressor": _forest,
    "GradientBoostingClassifier": _gradient_boosting,
    "GradientBoostingRegressor": _gradient_boosting,
    "LogisticRegression": _linear,
    "LinearRegression": _linear,
    "Ridge": _linear,
    "Lasso": _linear,
    "ElasticNet": _linear,
}


def _calibrated(graph: Graph, estimator: Any, x: str) -> str:
    """CalibratedClassifierCV(ensemble=False): a curve per class over what the estimator says, then shares of 1."""
    if len(estimator.calibrated_classifiers_) != 1 or estimator.method not in CURVES:
        raise NotExportable(f"CalibratedClassifierCV(method={estimator.method!r}, ensemble={estimator.ensemble!r})")
    (calibrated,) = estimator.calibrated_classifiers_
    raw = _raw(graph, calibrated.estimator, x)
    classes = len(calibrated.classes)
    curve = CURVES[estimator.method]
    curves = [
        curve(graph, graph.columns(raw.value, [column]), calibrator)
        for column, calibrator in enumerate(calibrated.calibrators)
    ]
    if classes == 2:
        return _both(graph, curves[0])
    together = graph.concat(curves)
    axis = graph.constant([1], np.int64)
    total = graph.add("ReduceSum", together, axis, keepdims=1)
    nothing = graph.add("Equal", total, graph.constant(0.0))
    return graph.add("Where", nothing, graph.constant(1 / classes), graph.add("Div", together, total))


def _sigmoid_curve(graph: Graph, value: str, calibrator: Any) -> str:
    scaled = graph.add("Mul", value, graph.constant(-calibrator.a_))
    return graph.add("Sigmoid", graph.add("Sub", scaled, graph.constant(calibrator.b_)))


def _isotonic_curve(graph: Graph, value: str, calibrator: Any) -> str:
    if calibrator.out_of_bounds != "clip":
        raise NotExportable("isotonic calibration that does not clip")
    return interpolated(graph, value, calibrator.X_thresholds_, calibrator.y_thresholds_)


CURVES = {"sigmoid": _sigmoid_curve, "isotonic": _isotonic_curve}
