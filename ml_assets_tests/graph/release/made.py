"""Models fitted on made rows whose truth is known, without a lake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ml_assets.graph.release.evaluation.evaluate import examine, predict
from ml_assets.ml import estimators
from ml_assets.ml.bundle import Bundle, Schema
from ml_assets.ml.judged import Judged
from ml_assets.spec import Candidate, PipelineSpec
from ml_assets.tables.evaluations import EvaluatedNumber, Evaluation
from ml_assets.tables.training_sets import Pin
from ml_assets.tables.versions import ModelVersion
from ml_assets_tests.conftest import SPEC

TYPES = {"income": "number", "noise": "number", "region": "category"}
ESTIMATORS = {
    "binary": "sklearn.linear_model.LogisticRegression",
    "multiclass": "sklearn.tree.DecisionTreeClassifier",
    "regression": "sklearn.linear_model.Ridge",
}
SQL = {"binary": "late_days > 10", "multiclass": "band", "regression": "late_days"}


def spec_of(kind: str = "binary", **changes: Any) -> PipelineSpec:
    gates = {"slices": {"by": ["region"], "min_rows": 30}, "fairness": {"by": ["region"], "min_rows": 30}}
    target = {"name": "outcome", "sql": SQL[kind], "kind": kind}
    return PipelineSpec.model_validate({**SPEC, "target": target, "gates": gates, **changes})


def made_rows(kind: str, rows: int, seed: int) -> pd.DataFrame:
    """Rows as `pins.read` gives them: income decides, noise does not."""
    rng = np.random.default_rng(seed)
    income = rng.normal(30, 8, rows)
    shaken = income + rng.normal(0, 4, rows)
    labels = {
        "binary": shaken < 27,
        "multiclass": np.select([shaken < 27, shaken < 33], ["low", "mid"], "high"),
        "regression": 3 * shaken,
    }
    region = rng.choice(["A", "B", "C"], rows, p=[0.6, 0.38, 0.02])
    return pd.DataFrame(
        {
            "batch": str(seed),
            "row_id": np.arange(rows),
            "label": labels[kind],
            "income": income,
            "noise": rng.normal(size=rows),
            "region": region,
            "slice_region": region,
            "slice_loan": np.arange(rows) * 7 + 1000 * seed,
        }
    )


def fitted_on(rows: pd.DataFrame, kind: str, types: dict[str, str] = TYPES) -> Bundle:
    features, labels = estimators.feature_frame(rows, types), estimators.label_array(rows["label"], kind)
    params = {"max_depth": 4} if kind == "multiclass" else {}
    candidate = Candidate(estimator=ESTIMATORS[kind])
    model = estimators.fit_model(candidate, params, features, labels, types, kind, 0)
    classes = [] if kind == "regression" else [str(name) for name in model.classes_]
    threshold = 0.5 if kind == "binary" else None
    return Bundle(Schema(kind, "outcome", {}, types, classes, threshold, ESTIMATORS[kind]), model)


def examined(
    spec: PipelineSpec, champion: bool = False, types: dict[str, str] = TYPES, add: Any = lambda _: {}
) -> Evaluation:
    """The evaluation of a small model; `add` gives further columns of a frame."""
    kind = spec.target.kind
    train, test = made_rows(kind, 600, 1), made_rows(kind, 400, 2)
    train, test = train.assign(**add(train)), test.assign(**add(test))
    loaded = fitted_on(train, kind, types)
    other = predict(fitted_on(train[:30], kind, types), test, "0.9.0") if champion else None
    seen, judged = predict(loaded, train, "1.0.0"), predict(loaded, test, "1.0.0")
    return examine(spec, loaded.model, seen, judged, other, 0.0)


def of(evaluation: Evaluation, scope: str, name: str | None = None) -> list[EvaluatedNumber]:
    return [f for f in evaluation.found if f.scope == scope and name in (None, f.slice)]


def judged_as(labels: Any, scores: Any, threshold: float = 0.5, **columns: Any) -> Judged:
    """Binary predictions as given."""
    schema = Schema("binary", "outcome", {}, {}, ["0", "1"], threshold, "")
    return Judged(
        pd.DataFrame({"row_id": range(len(labels)), **columns}), np.asarray(labels), np.asarray(scores), schema, "1"
    )


VERSION = ModelVersion(
    version="1.0.0",
    candidate="linear",
    pin_id="abc",
    snapshot_id=7,
    train_batches=["1"],
    recipe={"schema": "s", "method": "m"},
    fingerprint="f",
    validation_score=0.8,
    threshold=0.5,
    bundle="loans/1.0.0",
    bundle_sha256="5ha",
    estimator="sklearn.linear_model.LogisticRegression",
    params={"C": 0.1, "penalty": "<l2>"},
)
PIN = Pin(
    pin_id="abc",
    snapshot_id=7,
    batches={"train": ["1", "2"], "validation": ["3"], "test": ["4"]},
    rows={"train": 500, "validation": 100, "test": 400},
    features=TYPES,
    target="late_days > 10",
    split={"by": "batch"},
    seed=0,
)
