"""A candidate's whole competition: search on the train part, score on the validation part, the rows that it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml_assets.errors import TrainingError
from ml_assets.graph.training.search import Trial, best, prepare_folds, search
from ml_assets.ml import estimators, metrics
from ml_assets.ml.folds import folds
from ml_assets.spec import Candidate, PipelineSpec
from ml_assets.store import pins
from ml_assets.store.lake import Commit, Lake, Rows
from ml_assets.store.pins import LABEL, Pin
from ml_assets.store.registry import now
from ml_assets.store.sql import table

TRIALS = {
    "pin_id": "VARCHAR",
    "candidate": "VARCHAR",
    "trial": "INTEGER",
    "params": "JSON",
    "metric": "VARCHAR",
    "score": "DOUBLE",
    "fold_scores": "DOUBLE[]",
    "seconds": "DOUBLE",
    "error": "VARCHAR",
    "warning": "VARCHAR",
    "seed": "BIGINT",
    "code_version": "VARCHAR",
    "run_id": "VARCHAR",
    "finished_at": "TIMESTAMP",
}
CANDIDATES = {
    "pin_id": "VARCHAR",
    "candidate": "VARCHAR",
    "estimator": "VARCHAR",
    "params": "JSON",
    "metric": "VARCHAR",
    "cv_score": "DOUBLE",
    "cv_std": "DOUBLE",
    "validation_score": "DOUBLE",
    "train_score": "DOUBLE",
    "baseline_score": "DOUBLE",
    "threshold": "DOUBLE",
    "trials": "INTEGER",
    "seconds": "DOUBLE",
    "code_version": "VARCHAR",
    "run_id": "VARCHAR",
    "finished_at": "TIMESTAMP",
}


@dataclass(frozen=True)
class Outcome:
    """What a candidate reached."""

    best: Trial
    trials: list[Trial]
    validation_score: float
    train_score: float
    baseline_score: float
    threshold: float | None
    seconds: float


def compete(
    lake: Lake, spec: PipelineSpec, candidate: Candidate, pin: Pin, on_trial: Callable[[Trial, Trial], None]
) -> Outcome:
    """Tune a candidate on the train part and score it on the validation part.

    Raises:
        TrainingError: The estimator cannot be trained on these rows.
    """
    started = time.monotonic()
    kind, metric, seed = spec.target.kind, spec.metric, spec.tuning.seed
    group = (spec.split.group,) if spec.split.group else ()
    rows = pins.read(lake, spec.name, pin, ("train", "validation"), group)
    is_train = (rows["part"] == "train").to_numpy()
    features = estimators.feature_frame(rows, pin.features)
    labels = estimators.label_array(rows[LABEL], kind)
    train, train_labels = features[is_train], labels[is_train]
    groups = rows["slice_" + group[0]].to_numpy()[is_train] if group else None
    if len(train_labels) <= spec.tuning.folds:
        raise TrainingError("There are fewer train rows than folds.", where={"pipeline": spec.name})
    positions = folds(spec.split.by, spec.tuning.folds, train_labels, groups, seed)
    prepared = prepare_folds(candidate, train, train_labels, pin.features, positions, seed)
    trials = search(candidate, prepared, kind, metric, spec.tuning, on_trial)
    winner = best(trials, metric)
    model = estimators.fit_model(candidate.estimator, winner.params, train, train_labels, pin.features, seed)
    classes = class_names(model, kind)
    validation, validation_labels = features[~is_train], labels[~is_train]
    scores = estimators.predict_scores(model, validation, kind)
    threshold = None
    if kind == "binary":
        threshold = (
            metrics.cheapest_threshold(validation_labels, scores, spec.costs.false_positive, spec.costs.false_negative)
            if spec.costs
            else 0.5
        )
    return Outcome(
        best=winner,
        trials=trials,
        validation_score=metrics.score(metric, validation_labels, scores, kind, threshold, classes),
        train_score=metrics.score(
            metric, train_labels, estimators.predict_scores(model, train, kind), kind, threshold, classes
        ),
        baseline_score=metrics.dummy_score(metric, train_labels, validation_labels, kind, threshold, classes),
        threshold=threshold,
        seconds=time.monotonic() - started,
    )


def class_names(model: Any, kind: str) -> list[str]:
    """Labels in the order of a model's probabilities (multiclass); empty otherwise."""
    return [str(name) for name in model.classes_] if kind == "multiclass" else []


def record(lake: Lake, spec: PipelineSpec, name: str, pin: Pin, outcome: Outcome, commit: Commit) -> None:
    """Append every trial, and the candidate's own row."""
    shared = {
        "pin_id": pin.pin_id,
        "candidate": name,
        "metric": spec.metric,
        "code_version": commit.code_version,
        "run_id": commit.run_id,
        "finished_at": now(),
    }
    trials = [
        {
            **shared,
            "trial": trial.number,
            "params": trial.params,
            "score": None if trial.error else trial.mean,
            "fold_scores": trial.scores,
            "seconds": trial.seconds,
            "error": trial.error,
            "warning": trial.warning,
            "seed": spec.tuning.seed,
        }
        for trial in outcome.trials
    ]
    row = {
        **shared,
        "estimator": spec.candidates[name].estimator,
        "params": outcome.best.params,
        "cv_score": outcome.best.mean,
        "cv_std": float(np.std(outcome.best.scores)),
        "validation_score": outcome.validation_score,
        "train_score": outcome.train_score,
        "baseline_score": outcome.baseline_score,
        "threshold": outcome.threshold,
        "trials": len(outcome.trials),
        "seconds": outcome.seconds,
    }
    lake.append(
        [Rows(f"{spec.name}.trials", TRIALS, trials), Rows(f"{spec.name}.candidates", CANDIDATES, [row])], commit
    )


def rows_of(lake: Lake, spec: PipelineSpec, pin: Pin) -> dict[str, dict[str, Any]]:
    """Candidate of the YAML -> its newest row on a pin, where it has one."""
    name = f"{spec.name}.candidates"
    if not lake.exists(name):
        return {}
    rows = lake.rows(
        f"""SELECT * FROM {table(name)} WHERE pin_id = ? AND metric = ?
        QUALIFY row_number() OVER (PARTITION BY candidate ORDER BY finished_at DESC) = 1""",
        [pin.pin_id, spec.metric],
    )
    return {row["candidate"]: row for row in rows if row["candidate"] in spec.candidates}


def ranking(lake: Lake, spec: PipelineSpec, pin: Pin) -> list[dict[str, Any]]:
    """The newest row of each candidate on a pin, best validation score first.

    Raises:
        TrainingError: A candidate of the YAML has not been trained on the pin.
    """
    rows = rows_of(lake, spec, pin)
    missing = sorted(set(spec.candidates) - set(rows))
    if missing:
        raise TrainingError(
            f"The candidate {missing[0]!r} has not been trained on the newest training set.",
            where={"pipeline": spec.name, "pin": pin.pin_id},
            fix=f"Materialize {spec.name}/candidate_{missing[0]}, or run the job {spec.name}_train.",
        )
    return sorted(rows.values(), key=lambda row: metrics.gain(spec.metric, row["validation_score"], 0.0), reverse=True)
