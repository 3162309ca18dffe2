"""The search keeps every trial, is repeatable on any number of cores, goes on after a kill, and survives estimators."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_assets.errors import TrainingError
from ml_assets.graph.training import search as searching
from ml_assets.graph.training.candidates import out_of_fold
from ml_assets.graph.training.journal import Journal
from ml_assets.graph.training.search import Folds, best, search
from ml_assets.graph.training.trials import Task, Trial
from ml_assets.lake.artifacts import FolderArtifacts
from ml_assets.ml.folds import folds
from ml_assets.spec import Candidate, Tuning
from ml_assets_tests.conftest import wait_until
from ml_assets_tests.graph.training.slow_tree import lines

TYPES = {"a": "number", "b": "number"}
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": RNG.normal(size=200), "b": RNG.normal(size=200)})
LABELS = (FRAME["a"] + RNG.normal(size=200) > 0).astype(int).to_numpy()
MANY = np.array(["one", "two", "three"])[np.digitize(FRAME["a"], [-0.5, 0.5])]


def made(candidate: dict[str, Any], labels: Any = LABELS, kind: str = "binary", by: str = "batch") -> Folds:
    metric = "roc_auc" if kind == "binary" else "log_loss"
    task = Task(Candidate.model_validate(candidate), kind, metric, np.unique(labels).tolist(), 0)
    return Folds(task, FRAME, labels, TYPES, folds(by, 3, labels, None, 0))


def run(candidate: dict[str, Any], *, cores: int = 2, journal: Journal | None = None, **tuning: Any) -> list[Trial]:
    return search(made(candidate), Tuning(**{"trials": 4, **tuning}), journal=journal, cores=cores)


def told(trials: list[Trial]) -> list[Any]:
    return [(t.number, t.params, t.state, t.scores) for t in trials]


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
    assert told(first) == told(again)
    assert [t.params for t in first] != [t.params for t in other]
    for trial in first:
        assert isinstance(trial.params["max_depth"], int)
        assert 1 <= trial.params["max_depth"] <= 6
        assert 0.0001 <= trial.params["ccp_alpha"] <= 0.1
        assert trial.params["min_samples_leaf"] == 5
        assert len(trial.scores) == 3
        assert trial.memory_mib is not None
        assert trial.memory_mib > 10
    leader, last = best(first, "roc_auc"), best(first, "log_loss")
    assert leader is not None
    assert leader.mean == max(t.mean for t in first)
    assert last is not None
    assert last.mean == min(t.mean for t in first)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_trials_depend_on_parallel_and_never_on_the_cores(sampler: str) -> None:
    one, three = (run(TREE, cores=cores, trials=16, sampler=sampler) for cores in (1, 3))
    assert told(one) == told(three)
    assert {"complete", "pruned"} == {t.state for t in one}
    if sampler == "tpe":
        assert told(run(TREE, trials=16, parallel=1)) != told(one)


def test_folds_too_large_to_keep_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = told(run(TREE, trials=8))
    monkeypatch.setattr(searching, "CACHE_BYTES", 0)
    assert told(run(TREE, trials=8)) == kept


def test_a_bad_first_fold_prunes_after_some_trials() -> None:
    trials = run(TREE, trials=16)
    pruned = [t for t in trials if t.state == "pruned"]
    assert pruned
    assert all(len(t.scores) == 1 and t.number >= 4 for t in pruned)
    assert all(t.state == "complete" for t in run(TREE, trials=16, prune=False))


def test_a_threshold_is_chosen_on_rows_that_the_model_has_not_seen() -> None:
    by_heart = {"estimator": "sklearn.tree.DecisionTreeClassifier"}
    prepared = made(by_heart)
    (trial,) = search(prepared, Tuning(), cores=1)
    known = out_of_fold(prepared, trial)
    positions = np.concatenate([held for _, held in prepared.positions])
    assert np.array_equal(np.concatenate([labels for labels, _ in known]), LABELS[positions])
    scores = [float(np.mean((scores > 0.5) == labels)) for labels, scores in known]
    assert 0.5 < float(np.mean(scores)) < 0.9  # a tree that has seen them knows them all


def test_without_a_space_there_is_one_trial() -> None:
    assert len(run({"estimator": "sklearn.linear_model.LogisticRegression"})) == 1


def test_no_round_starts_after_the_seconds() -> None:
    assert 0 < len(run(TREE, trials=500, seconds=0.2)) < 500


def test_a_grid_tries_each_combination_once_and_ends() -> None:
    space = {
        "max_depth": {"low": 1, "high": 3, "steps": 9},
        "ccp_alpha": {"low": 0.001, "high": 0.1, "log": True, "steps": 3},
    }
    candidate = {"estimator": TREE["estimator"], "search": {**space, "criterion": ["gini", "entropy"]}}
    trials = run(candidate, trials=100, sampler="grid", prune=False)
    assert len({json.dumps(t.params) for t in trials}) == len(trials) == 3 * 3 * 2
    assert {t.params["max_depth"] for t in trials} == {1, 2, 3}
    np.testing.assert_allclose(sorted({t.params["ccp_alpha"] for t in trials}), [0.001, 0.01, 0.1])
    part = run(candidate, trials=7, sampler="grid")
    assert len({json.dumps(t.params) for t in part}) == 7
    assert len({t.params["max_depth"] for t in part}) > 1


def test_a_failed_trial_is_kept_and_the_others_go_on() -> None:
    candidate = {
        "estimator": "sklearn.tree.DecisionTreeClassifier",
        "search": {"max_depth": [2, -3]},
    }
    trials = run(candidate, trials=12, sampler="random")
    failed = [trial for trial in trials if trial.error]
    assert 0 < len(failed) < len(trials)
    assert all("max_depth" in str(trial.error) and trial.state == "failed" for trial in failed)
    leader = best(trials, "roc_auc")
    assert leader is not None
    assert leader.params == {"max_depth": 2}


def test_when_every_trial_fails_the_last_error_is_told() -> None:
    with pytest.raises(TrainingError, match="Every trial failed") as caught:
        run({"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": -3}})
    assert "max_depth" in str(caught.value)


def test_a_warning_is_kept_with_its_trial_alone() -> None:
    candidate = {"estimator": "sklearn.linear_model.LogisticRegression", "search": {"max_iter": [1, 500]}}
    for trial in run(candidate, trials=6, sampler="random", prune=False):
        assert ("failed to converge" in str(trial.warning)) == (trial.params["max_iter"] == 1)


@pytest.mark.parametrize("by", ["random", "stratified"])
def test_a_class_that_a_fold_lacks_breaks_nothing(by: str) -> None:
    rare = MANY.copy()
    rare[:2] = "rare"
    tree = {"estimator": TREE["estimator"]}
    (trial,) = search(made(tree, rare, "multiclass", by), Tuning(), cores=1)
    assert np.isfinite(trial.mean)
    few = np.zeros(200, dtype=int)
    few[[5, 90]] = 1
    prepared = made(tree, few, by=by)
    (trial,) = search(prepared, Tuning(), cores=1)
    assert trial.state == "complete"
    with pytest.raises(TrainingError, match="two classes to train on"):
        made(tree, np.zeros(200, dtype=int), by="random")


SLOW = {
    "estimator": "ml_assets_tests.graph.training.slow_tree.SlowTree",
    "search": {"max_depth": {"low": 1, "high": 6}, "ccp_alpha": {"low": 0.0001, "high": 0.1, "log": True}},
}
SEARCH = """
import sys
from pathlib import Path
from ml_assets.graph.training.journal import Journal
from ml_assets.lake.artifacts import FolderArtifacts
from ml_assets_tests.graph.training.test_search import SLOW, run
run(SLOW, trials=16, cores=2, journal=Journal(FolderArtifacts(Path(sys.argv[1])), "slow"))
"""


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, fits = FolderArtifacts(tmp_path / "searches"), tmp_path / "fits"
    monkeypatch.setenv("FITS", str(tmp_path / "undisturbed"))
    undisturbed = run(SLOW, trials=16)
    command = [sys.executable, "-c", SEARCH, str(store.folder)]
    half = lines(tmp_path / "undisturbed") // 2
    process = subprocess.Popen(command, env={**os.environ, "FITS": str(fits), "MOST_FITS": str(half)})
    wait_until(lambda: lines(fits) >= half, 60, "half of the fits")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    torn = store.folder / "slow/.15.json.new"  # of a trial that was being written
    torn.mkdir()
    (torn / "15.json").write_text('{"number": 15, "par')
    monkeypatch.setenv("FITS", str(tmp_path / "again"))
    journal = Journal(store, "slow")
    recorded = {
        json.dumps([line["params"]["max_depth"], line["params"]["ccp_alpha"]]) for line in journal.recorded.values()
    }
    assert 0 < len(recorded) < 16
    spent = journal.seconds
    assert spent > 0
    resumed = run(SLOW, trials=16, journal=journal)
    assert told(resumed) == told(undisturbed)
    assert not recorded & set((tmp_path / "again").read_text().splitlines())
    whole = Journal(store, "slow")
    assert set(whole.recorded) == set(range(16))
    assert whole.seconds > spent
    whole.remove()
    assert list(store.folder.iterdir()) == []


def test_seconds_that_were_spent_before_count(tmp_path: Path) -> None:
    store = FolderArtifacts(tmp_path)
    journal = Journal(store, "tree")
    run(TREE, trials=4, journal=journal)
    line = {**journal.recorded[3], "elapsed": 1000.0}
    journal.write(line)
    assert len(run(TREE, trials=12, seconds=900, journal=Journal(store, "tree"))) == 4


def test_nothing_keeps_the_rows_once_a_search_is_over() -> None:
    prepared = made(TREE)
    search(prepared, Tuning(trials=2))
    rows = weakref.ref(prepared)
    del prepared
    gc.collect()
    assert rows() is None


def test_folds_that_are_too_large_to_keep_give_the_same_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    boosting = {
        "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
        "params": {"max_iter": 5},
        "search": {"learning_rate": {"low": 0.01, "high": 0.3}},
    }
    kept = run(boosting)
    monkeypatch.setattr(searching, "CACHE_BYTES", 0)
    assert told(run(boosting)) == told(kept)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_trials_are_spread_over_the_ranges(seed: int) -> None:
    trials = run({**TREE, "params": {}}, trials=4, seed=seed)
    places = sorted(np.log(trial.params["ccp_alpha"] / 0.0001) / np.log(1000) for trial in trials)
    assert np.diff([0, *places, 1]).max() < 0.3  # at random, seed 0 leaves 0.48 empty
    assert len({trial.params["max_depth"] for trial in trials}) == 4
    assert {trial.params["criterion"] for trial in trials} == {"gini", "entropy"}


def test_no_first_trial_is_repeated_and_later_ones_follow() -> None:
    small = {"estimator": "sklearn.tree.DecisionTreeClassifier", "search": {"max_depth": {"low": 1, "high": 3}}}
    first = [trial.params["max_depth"] for trial in run(small, trials=5)]
    assert (len(first), set(first[:3])) == (5, {1, 2, 3})
