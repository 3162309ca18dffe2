"""The search for a candidate's parameters: Optuna over cross-validation folds, with every trial kept.

Preprocessing is fitted once per fold and shared by all trials, which differ in the estimator's parameters only.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml_assets.errors import MLAssetsError, TrainingError
from ml_assets.ml import estimators, metrics
from ml_assets.spec import Candidate, Range, Tuning

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Fold:
    """One fold, preprocessed."""

    train: Any
    train_labels: Array
    validation: Any
    validation_labels: Array


@dataclass
class Trial:
    """One set of parameters and how it did."""

    number: int
    params: dict[str, Any]
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None
    warning: str | None = None

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores)) if self.scores else float("nan")


def prepare_folds(
    candidate: Candidate,
    features: Any,
    labels: Array,
    types: estimators.FeatureTypes,
    positions: Sequence[tuple[Array, Array]],
    seed: int,
) -> list[Fold]:
    """Fit the preprocessing of a candidate on each fold's training rows.

    Args:
        candidate: Decides which preprocessing.
        features: Feature frame, shape (n, features).
        labels: Labels, shape (n,).
        types: Feature name -> number | category.
        positions: Row positions (train, validation) of each fold.
        seed: Seed of the estimator.
    """
    made = []
    estimator = estimators.make_estimator(candidate.estimator, candidate.params, seed)
    for train, validation in positions:
        rows = features.iloc[train]
        preprocessor = estimators.make_preprocessor(estimator, estimators.present(rows, types))
        fitted = preprocessor.fit_transform(rows)
        made.append(Fold(fitted, labels[train], preprocessor.transform(features.iloc[validation]), labels[validation]))
    return made


def search(
    candidate: Candidate,
    folds: Sequence[Fold],
    kind: str,
    metric: str,
    tuning: Tuning,
    on_trial: Callable[[Trial, Trial], None],
) -> list[Trial]:
    """Try parameters until trials or seconds are used up.

    Args:
        candidate: Estimator, fixed parameters and search space; without a space there is one trial.
        folds: Preprocessed folds.
        kind: binary, multiclass or regression.
        metric: What is optimised, in its own direction.
        tuning: Budgets, sampler and seed.
        on_trial: Called after each trial with it and the best so far.

    Returns:
        All trials, in order.

    Raises:
        TrainingError: Every trial failed, or a parameter does not exist.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.create_study(
        direction="maximize" if metrics.greater_is_better(metric) else "minimize",
        sampler=samplers[tuning.sampler](seed=tuning.seed),
    )
    trials: list[Trial] = []

    def objective(optuna_trial: Any) -> float:
        trial = Trial(len(trials), {**candidate.params, **_suggested(optuna_trial, candidate)})
        trials.append(trial)
        _run(trial, candidate.estimator, folds, kind, metric, tuning.seed)
        if trial.error:
            raise ValueError(trial.error)
        on_trial(trial, best(trials, metric))
        return trial.mean

    study.optimize(
        objective,
        n_trials=tuning.trials if candidate.search else 1,
        timeout=tuning.seconds,
        catch=(ValueError,),
    )
    if all(trial.error for trial in trials):
        raise TrainingError(
            "Every trial failed.",
            found=trials[-1].error,
            where={"estimator": candidate.estimator},
            fix="Correct its parameters.",
        )
    return trials


def best(trials: Sequence[Trial], metric: str) -> Trial:
    """The trial with the best mean score."""
    done = [trial for trial in trials if not trial.error]
    return max(done, key=lambda trial: metrics.gain(metric, trial.mean, 0.0))


def _suggested(trial: Any, candidate: Candidate) -> dict[str, Any]:
    values = {}
    for name, space in candidate.search.items():
        if not isinstance(space, Range):
            values[name] = trial.suggest_categorical(name, space)
        elif isinstance(space.low, int) and isinstance(space.high, int):
            values[name] = trial.suggest_int(name, space.low, space.high, log=space.log)
        else:
            values[name] = trial.suggest_float(name, space.low, space.high, log=space.log)
    return values


def _run(trial: Trial, path: str, folds: Sequence[Fold], kind: str, metric: str, seed: int) -> None:
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            for fold in folds:
                model = estimators.make_estimator(path, trial.params, seed).fit(fold.train, fold.train_labels)
                scores = estimators.predict_scores(model, fold.validation, kind)
                classes = [str(name) for name in getattr(model, "classes_", [])]
                trial.scores.append(metrics.score(metric, fold.validation_labels, scores, kind, None, classes))
            if np.isnan(trial.mean):
                trial.error = f"{metric} is not defined on every fold: a fold may hold one class only"
        except MLAssetsError:
            raise
        except Exception as error:  # an estimator may raise anything for parameters that it cannot take
            trial.error = f"{type(error).__name__}: {error}"
    trial.warning = str(caught[0].message).splitlines()[0] if caught else None
    trial.seconds = time.perf_counter() - started
