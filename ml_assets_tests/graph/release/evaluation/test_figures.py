"""The numbers behind the plots of a report, on predictions whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ml_assets.graph.release.evaluation.dependence import MOST_ROWS, dependence
from ml_assets.graph.release.evaluation.figures import CLASSES, POINTS, figures
from ml_assets.graph.release.evaluation.worst import LONGEST, worst_rows
from ml_assets.ml.bundle import Schema
from ml_assets.ml.judged import Judged
from ml_assets.tables.evaluations import EvaluatedNumber
from ml_assets_tests.graph.release.made import fitted_on, judged_as, made_rows, spec_of

COSTS = {"false_positive": 1, "false_negative": 4}


def of(judged: Judged, **spec: Any) -> dict[str, Any]:
    """The figures of predictions, beside a baseline that says the same of every row."""
    return figures(spec_of(**spec), judged, None, replace(judged, scores=np.full(judged.scores.shape, 0.5)))


def test_curves_and_confusion_of_a_binary_model() -> None:
    found = of(judged_as([1, 1, 0, 1, 0, 0], [0.9, 0.8, 0.7, 0.4, 0.4, 0.1]), costs=COSTS)
    third = pytest.approx([1 / 3, 2 / 3], abs=1e-5)
    assert found["roc"]["version"][0] == [0.0, 0.0]
    assert found["roc"]["version"][3] == third
    assert found["roc"]["version"][-1] == [1.0, 1.0]
    assert len(found["roc"]["version"]) == 6  # equal scores are one step
    assert found["precision_recall"]["version"][2] == pytest.approx([2 / 3, 2 / 3], abs=1e-5)
    assert found["gain"]["version"][1:3] == [pytest.approx([1 / 6, 1 / 3], abs=1e-5), third]
    assert found["positives"] == 0.5
    own = {"true_negatives": 2, "false_positives": 1, "false_negatives": 1, "true_positives": 2, "rows": 6, "cost": 5.0}
    assert found["confusion"]["version"] == own
    assert found["confusion"]["baseline"]["cost"] == 3.0  # all are predicted 1
    assert found["thresholds"]["cost"][0] == [0.9, 8.0]
    assert min(cost for _, cost in found["thresholds"]["cost"]) == 2.0  # at 0.4
    assert "champion" not in found["roc"]


def test_many_rows_give_few_points() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200_000)
    found = of(judged_as((rng.random(200_000) < scores).astype(int), scores))
    assert len(found["roc"]["version"]) <= POINTS + 1
    assert len(json.dumps(found)) < 60_000
    for predicted, observed in found["calibration"]["version"]:
        assert observed == pytest.approx(predicted, abs=0.02)


def test_one_class_alone_has_curves_too() -> None:
    found = of(judged_as([0, 0, 0], [0.2, 0.3, 0.4]))
    assert found["roc"]["version"][-1] == [1.0, 0.0]


def test_a_confusion_matrix_of_many_classes_is_cut() -> None:
    names = [f"c{n:02d}" for n in range(CLASSES + 5)]
    labels = np.repeat(names, range(len(names), 0, -1))
    scores = np.eye(len(names))[np.repeat(range(len(names)), range(len(names), 0, -1))]
    schema = Schema("multiclass", "outcome", {}, {}, names, None, "")
    found = of(replace(judged_as(labels, scores), schema=schema, favoured="c00"), kind="multiclass")
    assert len(found["confusion"]) == CLASSES
    assert found["left_out"] == 5
    assert found["confusion"][1][:3] == [0, len(names) - 1, 0]
    assert found["classes"][0] == {"class": "c00", "rows": 20, "predicted": 20, "precision": 1.0, "recall": 1.0}
    assert found["coverage"]["version"][-1] == [1.0, 1.0]


def test_errors_and_deciles_of_a_regression() -> None:
    labels = np.arange(1000.0)
    schema = Schema("regression", "outcome", {}, {}, [], None, "")
    judged = replace(judged_as(labels, labels + 10), schema=schema)
    found = of(judged, kind="regression")
    assert {error for error, _ in found["errors"]["version"]} == {10.0}
    assert len(found["deciles"]) == 10
    first = {"predicted": 59.5, "observed": 49.5, "rows": 100, "low": 9.9, "high": 89.1}
    assert found["deciles"][0] == pytest.approx(first)


def important(*names: str) -> list[EvaluatedNumber]:
    return [EvaluatedNumber("importance", "roc_auc", 0.1, 9, slice_by="feature", slice=name) for name in names]


def test_dependence_says_what_a_feature_does() -> None:
    loaded = fitted_on(made_rows("binary", 600, 1), "binary")
    rows = made_rows("binary", 3000, 2)
    judged = Judged(rows, rows["label"].to_numpy(), np.zeros(3000), loaded.schema, "1")
    income, region = dependence(loaded.model, judged, important("income", "region"), 0)
    predicted = income["predicted"]["outcome"]
    assert predicted == sorted(predicted, reverse=True)  # who earns more pays in time
    assert predicted[0] - predicted[-1] > 0.5
    assert (income["rows"], region["values"][0]) == (MOST_ROWS, "A")
    assert max(region["predicted"]["outcome"]) - min(region["predicted"]["outcome"]) < 0.2
    assert json.dumps([income, region])


def test_the_worst_rows_come_with_their_key_and_features() -> None:
    columns = {"batch": ["4"] * 4, "slice_loan": [7, 8, 9, 10], "income": [1.5, None, 3.0, 4.0], "name": ["x" * 99] * 4}
    judged = judged_as([0, 1, 1, 0], [0.1, 0.9, 0.2, 0.999], **columns)
    found = worst_rows(judged, ["loan"], important("income", "name"))
    told = ["observed outcome", "predicted", "log loss"]
    assert found["columns"] == ["batch", "row_id", "loan", *told, "income", "name"]
    assert [row[2] for row in found["rows"]] == ["10", "9", "7", "8"]
    assert found["rows"][0][:7] == ["4", "3", "10", "0", "0.999", "6.90776", "4"]
    assert found["rows"][3][6] == ""  # missing
    assert len(found["rows"][0][7]) == LONGEST
