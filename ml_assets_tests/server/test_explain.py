"""Reasons of scores: of a linear model the answer is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_assets.ml import bundle
from ml_assets.server.explain import BACKGROUND, background, explain, most_rows
from ml_assets_tests.conftest import Project
from ml_assets_tests.server.helpers import started

WEIGHTS = {"a": 2.0, "b": -1.0, "c": 0.0}
OTHERS = {"a": [0.0, 1.0, 5.0], "b": [10.0, 20.0, 30.0], "c": [7.0, 8.0, 9.0]}
ROWS = {"a": [4.0, 2.0], "b": [25.0, 20.0], "c": [3.0, None]}


class Linear:
    """A model whose effects are its weights times the distance from the mean."""

    background = OTHERS

    def __init__(self) -> None:
        self.calls = 0

    def scores_of(self, features: Mapping[str, Sequence[Any]]) -> Any:
        self.calls += 1
        columns = {name: np.array([value or 0.0 for value in values]) for name, values in features.items()}
        return sum(weight * columns[name] for name, weight in WEIGHTS.items())


class Classes(Linear):
    """The same as two probabilities, of which the other one falls as one rises."""

    def scores_of(self, features: Mapping[str, Sequence[Any]]) -> Any:
        score = super().scores_of(features)
        return np.stack([-score, score], axis=1)


def test_effects_of_a_linear_model_are_weight_times_distance_from_the_mean() -> None:
    model = Linear()
    found = explain(model, ROWS, 2, 3)
    assert model.calls == 1
    assert [[(one.feature, one.value) for one in row] for row in found] == [
        [("b", 25.0), ("a", 4.0), ("c", 3.0)],
        [("a", 2.0), ("b", 20.0), ("c", None)],
    ]
    np.testing.assert_allclose([one.effect for one in found[0]], [-5.0, 4.0, 0.0], atol=1e-12)
    np.testing.assert_allclose([one.effect for one in found[1]], [0.0, 0.0, 0.0], atol=1e-12)
    assert [len(row) for row in explain(model, ROWS, 2, 1)] == [1, 1]
    assert explain(model, ROWS, 2, 3) == found


def test_effects_are_of_the_decision_of_several_classes() -> None:
    (first, _) = explain(Classes(), ROWS, 2, 2)  # -17: the first class
    np.testing.assert_allclose([one.effect for one in first], [5.0, -4.0])


def test_the_cost_of_a_request_is_bounded() -> None:
    assert most_rows(Linear()) == 50_000 // 9
    wide = Linear()
    wide.background = {str(number): [0.0] * 20 for number in range(5000)}
    assert most_rows(wide) == 1
    wide.background = {"a": []}
    assert most_rows(wide) == 0


def test_the_background_is_of_the_training_set(trained: Project, tmp_path: Path) -> None:
    folder = trained.paths.releases / "loans" / "1.0.0" / "bundle"
    schema = bundle.read_schema(folder)
    found = background(folder, schema)
    assert list(found) == list(schema.features)
    assert {len(values) for values in found.values()} == {BACKGROUND}
    assert set(found["region"]) <= {"A", "B", "C", "D", None}
    assert background(tmp_path, schema) == {name: [] for name in schema.features}


@pytest.mark.parametrize("path", ["/v1/loans/predict", "/v1/loans/versions/1.0.0/predict"])
def test_a_request_may_ask_for_reasons(trained: Project, tmp_path: Path, path: str) -> None:
    folder = trained.paths.releases / "loans" / "1.0.0"
    row = {"loan": 1, "income": 5.0, "region": "A", "signed": "2024-01-01T00:00:00"}
    with started(tmp_path / "log", ["-m", "ml_assets.server", str(folder)]) as server:
        status, plain = server.ask(path, {"rows": [row]})
        assert (status, "explanations" in plain) == (200, False)
        status, answer = server.ask(f"{path}?explain=2", {"rows": [row, {**row, "income": 90.0}]})
        assert status == 200
        assert answer["scores"][0] == plain["scores"][0]
        poor, rich = answer["explanations"]
        assert [len(poor), len(rich)] == [2, 2]
        effects = [{one["feature"]: one["effect"] for one in row}["income"] for row in (poor, rich)]
        assert effects[0] > 0 > effects[1]  # little income: paid late more often
        for text in ("-1", "x", "1000", "%C2%B2"):
            status, problem = server.ask(f"{path}?explain={text}", {"rows": [row]})
            assert (status, problem["errors"][0]["field"]) == (422, "explain")
        status, problem = server.ask(f"{path}?explain=1", {"rows": [row] * 1000})
        assert (status, problem["errors"][0]["field"]) == (422, "explain")
        assert "can explain" in problem["detail"]
