"""The search keeps every trial, is repeatable, and survives what an estimator throws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_assets.errors import TrainingError
from ml_assets.graph.training.search import Trial, best, prepare_folds, search
from ml_assets.ml.folds import folds
from ml_assets.spec import Candidate, Tuning

TYPES = {"a": "number", "b": "number"}
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": RNG.normal(size=200), "b": RNG.normal(size=200)})
LABELS = (FRAME["a"] + RNG.normal(size=200) > 0).astype(int).to_numpy()


def run(candidate: dict[str, Any], **tuning: Any) -> list[Trial]:
    made = Candidate.model_validate(candidate)
    prepared = prepare_folds(made, FRAME, LABELS, TYPES, folds("batch", 3, LABELS, None, 0), 0)
    return search(made, prepared, "binary", "roc_auc", Tuning(**{"trials": 4, **tuning}), lambda trial, leader: None)


TREE = {
    "estimator": "sklearn.tree.DecisionTreeClassifier",
    "params": {"min_samples_leaf": 5},
    "search": {
        "max_depth": {"low": 1, "high": 6},
        "ccp_alpha": {"low": 0.0001, "high": 0.1, "log": True},
        "criterion": ["gini", "entropy"],
    },
}


def test_trials_stay_in_their_space_and_repeat_with_the_seed() -> None:
    first, again, other = run(TREE), run(TREE), run(TREE, seed=1)
    assert [t.params for t in first] == [t.params for t in again]
    assert [t.scores for t in first] == [t.scores for t in again]
    assert [t.params for t in first] != [t.params for t in other]
    for trial in first:
        assert isinstance(trial.params["max_depth"], int)
        assert 1 <= trial.params["max_depth"] <= 6
        assert 0.0001 <= trial.params["ccp_alpha"] <= 0.1
        assert trial.params["min_samples_leaf"] == 5
        assert len(trial.scores) == 3
    assert best(first, "roc_auc").mean == max(t.mean for t in first)
    assert best(first, "log_loss").mean == min(t.mean for t in first)


def test_without_a_space_there_is_one_trial() -> None:
    assert len(run({"estimator": "sklearn.linear_model.LogisticRegression"})) == 1


def test_no_trial_starts_after_the_seconds() -> None:
    assert len(run(TREE, trials=500, seconds=0.2)) < 500


def test_a_failed_trial_is_kept_and_the_others_go_on() -> None:
    candidate = {
        "estimator": "sklearn.tree.DecisionTreeClassifier",
        "search": {"max_depth": [2, -3]},
    }
    trials = run(candidate, trials=8, sampler="random")
    failed = [trial for trial in trials if trial.error]
    assert 0 < len(failed) < len(trials)
    assert "max_depth" in str(failed[0].error)
    assert best(trials, "roc_auc").params == {"max_depth": 2}


def test_when_every_trial_fails_the_last_error_is_told() -> None:
    with pytest.raises(TrainingError, match="Every trial failed") as caught:
        run({"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": -3}})
    assert "max_depth" in str(caught.value)


def test_a_warning_is_kept_with_its_trial() -> None:
    trials = run({"estimator": "sklearn.linear_model.LogisticRegression", "params": {"max_iter": 1}})
    assert "failed to converge" in str(trials[0].warning)
