"""A candidate is fitted again on more rows, whatever belongs to its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_assets.ml import bundle
from ml_assets.ml.fitting import Fitted, fit
from ml_assets.spec import PipelineSpec
from ml_assets_tests.conftest import SPEC

TYPES = {"income": "number", "region": "category"}


def rows(count: int, classes: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(count)
    income = rng.normal(30, 8, count)
    label = np.clip(np.floor((income + rng.normal(0, 4, count) - 14) / 32 * classes), 0, classes - 1)
    return pd.DataFrame({"income": income, "region": rng.choice(["A", "B"], count), "label": label})


def fitted(candidate: dict[str, Any], frame: pd.DataFrame, kind: str = "binary") -> Fitted:
    target = {"name": "late", "sql": "late_days", "kind": kind}
    changes = {"target": target, "candidates": {"one": candidate}, "gates": {}}
    spec = PipelineSpec.model_validate({**SPEC, **changes})
    return fit(frame, "label", spec, TYPES, "one", candidate.get("params", {}), 0.4 if kind == "binary" else None)


@pytest.mark.parametrize(
    "candidate",
    [
        {
            "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
            "params": {"early_stopping": True, "max_iter": 40, "n_iter_no_change": 2, "max_leaf_nodes": 7},
        },
        {
            "estimator": "sklearn.linear_model.LogisticRegression",
            "calibrate": "sigmoid",
            "preprocess": {"balance": "weights", "scale": "robust"},
        },
        {
            "estimator": "sklearn.tree.DecisionTreeClassifier",
            "preprocess": {"balance": "undersample", "impute": "mean"},
        },
    ],
)
def test_a_recipe_is_fitted_again_on_all_rows(candidate: dict[str, Any], tmp_path: Path) -> None:
    everything = rows(240)
    first = fitted(candidate, everything.head(160))
    second = [fitted(candidate, everything) for _ in range(2)]
    loaded = []
    for number, one in enumerate((first, *second)):
        digest = one.save(tmp_path / str(number), {"features.sql": "SELECT 1"})
        loaded.append(bundle.load(tmp_path / str(number), digest))
        assert bundle.texts(tmp_path / str(number)) == {"features.sql": "SELECT 1"}
    said = [one.scores(everything) for one in loaded]
    np.testing.assert_array_equal(said[1], said[2])
    assert np.abs(said[0] - said[1]).max() > 0
    assert {one.schema.threshold for one in loaded} == {0.4}
    assert [len(one.reference.rows) for one in (first, *second)] == [160, 240, 240]


def test_a_class_that_only_the_newest_rows_have_is_learned() -> None:
    everything = rows(240, classes=3).sort_values("label", ignore_index=True)
    candidate = {"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": 3}}
    known = everything[everything["label"] < 2]
    assert fitted(candidate, known, "multiclass").schema.classes == ["0.0", "1.0"]
    assert fitted(candidate, everything, "multiclass").schema.classes == ["0.0", "1.0", "2.0"]
