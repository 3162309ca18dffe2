"""A candidate's whole competition: search on the train part, score on the validation part, the rows that it leaves."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ml_assets import metrics
from ml_assets.atomic import short_hash
from ml_assets.errors import TrainingError
from ml_assets.graph.training.journal import Journal
from ml_assets.graph.training.search import Compute, Folds, OnTrial, available_cores, best, search
from ml_assets.graph.training.trials import Task, Trial
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.ml import baseline, estimators, selection, thresholds
from ml_assets.ml.folds import folds
from ml_assets.spec import PipelineSpec
from ml_assets.tables import training_sets
from ml_assets.tables.candidates import CANDIDATES, asset_name
from ml_assets.tables.training_sets import LABEL, Pin
from ml_assets.tables.trials import TRIALS
from ml_assets.tables.versions import now

Array = np.ndarray[Any, Any]

LOCK_TIMEOUT_S = 3600


@dataclass(frozen=True)
class CandidateResult:
    """What a candidate reached, and the journal of its search."""

    best: Trial
    trials: list[Trial]
    cv_se: float
    validation_score: float
    validation_se: float
    train_score: float
    baseline_score: float
    threshold: float | None
    seconds: float
    journal: Journal


def compete(
    lake: Lake,
    paths: Paths,
    spec: PipelineSpec,
    name: str,
    pin: Pin,
    code_version: str,
    on_trial: OnTrial,
    compute: Compute | None = None,
) -> CandidateResult:
    """Tune a candidate on the train part and score it on the validation part.

    One that was killed goes on after its last finished trial, as long as nothing that decides trials has changed.

    Raises:
        TrainingError: The estimator cannot be trained on these rows.
    """
    started = time.monotonic()
    candidate, kind, metric, seed = spec.candidates[name], spec.target.kind, spec.metric, spec.tuning.seed
    train, groups = _part(lake, spec, pin, "train")
    if len(train.labels) <= spec.tuning.folds:
        raise TrainingError("There are fewer train rows than folds.", where={"pipeline": spec.name})
    with lake.catalog.lock(f"{spec.name}.{asset_name(name)}", LOCK_TIMEOUT_S, "tuning it"):
        journal = Journal(paths.artifacts.searches, journal_name(paths, spec, name, pin, code_version))
        prepared = _folds(spec, name, pin, train, groups)
        cv_rows = sum(len(scored) for _, scored in prepared.positions)
        trials = search(prepared, spec.tuning, on_trial, journal, compute=compute)
        winner = best(trials, metric)
        if winner is None:
            raise TrainingError("No trial was completed.", fix="Set tuning.prune: false.")
        known = out_of_fold(prepared, winner) if spec.costs else []
        del prepared
    model = estimators.fit_model(candidate, winner.params, train.features, train.labels, pin.features, kind, seed)
    names = estimators.class_names(model, kind)
    train_labels, train_scores = train.labels, estimators.predict_scores(model, train.features, kind)
    del train  # before other rows are read
    validation, _ = _part(lake, spec, pin, "validation")
    scores = estimators.predict_scores(model, validation.features, kind)
    known.append((validation.labels, scores))
    threshold = _threshold(spec, *(np.concatenate(side) for side in zip(*known, strict=True)))
    error = selection.validation_error(metric, validation.labels, scores, kind, threshold, names, seed)
    return CandidateResult(
        best=winner,
        trials=trials,
        cv_se=selection.cv_error(winner.scores, cv_rows, len(validation.labels), error),
        validation_se=error,
        validation_score=metrics.score(metric, validation.labels, scores, kind, threshold, names),
        train_score=metrics.score(metric, train_labels, train_scores, kind, threshold, names),
        baseline_score=baseline.dummy_score(metric, train_labels, validation.labels, kind, threshold, names),
        threshold=threshold,
        seconds=time.monotonic() - started,
        journal=journal,
    )


@dataclass(frozen=True)
class Part:
    """Rows of one part: feature frame, shape (n, features), and labels, shape (n,)."""

    features: Any
    labels: Array


def _part(lake: Lake, spec: PipelineSpec, pin: Pin, part: str) -> tuple[Part, Array | None]:
    """Rows of a part, and the group of each row."""
    group = (spec.split.group,) if spec.split.group else ()
    rows = training_sets.read(lake, spec.name, pin, (part,), group)
    labels = estimators.label_array(rows[LABEL], spec.target.kind)
    groups = rows["slice_" + group[0]].to_numpy() if group else None
    return Part(estimators.feature_frame(rows, pin.features), labels), groups


def folds_of(lake: Lake, spec: PipelineSpec, name: str, pin: Pin) -> Folds:
    """The folds of a candidate's search, as `compete` has them, for a process that only fits them."""
    return _folds(spec, name, pin, *_part(lake, spec, pin, "train"))


def _folds(spec: PipelineSpec, name: str, pin: Pin, train: Part, groups: Array | None) -> Folds:
    kind, seed = spec.target.kind, spec.tuning.seed
    classes = [] if kind == "regression" else np.unique(train.labels).tolist()
    task = Task(spec.candidates[name], kind, spec.metric, classes, seed)
    positions = folds(spec.split.by, spec.tuning.folds, train.labels, groups, seed)
    return Folds(task, train.features, train.labels, pin.features, positions)


def out_of_fold(prepared: Folds, winner: Trial) -> list[tuple[Array, Array]]:
    """Labels and scores of each fold's validation rows, by a model with the winner's parameters that has not seen them.

    A threshold that is chosen on the validation part alone is as good as that one batch is typical.
    """
    task, threads = prepared.task, available_cores()
    held = (prepared[number] for number in range(len(prepared)))
    return [(fold.validation_labels, task.scores(winner.params, fold, threads)) for fold in held]


def _threshold(spec: PipelineSpec, labels: Array, scores: Array) -> float | None:
    if spec.target.kind != "binary":
        return None
    if not spec.costs:
        return 0.5
    return thresholds.cheapest_threshold(labels, scores, spec.costs.false_positive, spec.costs.false_negative)


def journal_name(paths: Paths, spec: PipelineSpec, name: str, pin: Pin, code_version: str) -> str:
    """The journal of exactly this search; those of the candidate's other searches are of no use any more."""
    candidate = spec.candidates[name]
    libraries = sorted({"optuna", "scikit-learn", "numpy", candidate.estimator.partition(".")[0]})
    decides = [
        pin.pin_id,
        code_version,
        candidate.model_dump(),
        spec.tuning.model_dump(),
        spec.metric,
        spec.target.kind,
    ]
    decides += [spec.split.model_dump(), [_version(library) for library in libraries]]
    digest = short_hash(json.dumps(decides, sort_keys=True, default=str))
    journal, store = f"{name}-{digest}", paths.artifacts.searches.under(spec.name)
    for other in store.names():
        if other.rpartition("-")[0] == name and other != journal:
            store.remove(other)
    return f"{spec.name}/{journal}"


def _version(library: str) -> str:
    with contextlib.suppress(PackageNotFoundError):
        return version(library)
    return ""


def record(lake: Lake, spec: PipelineSpec, name: str, pin: Pin, outcome: CandidateResult, commit: Commit) -> None:
    """Record every trial, and the candidate's own row; the journal has done its work."""
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
            "state": trial.state,
            "params": trial.params,
            "score": None if trial.error else trial.mean,  # of a pruned one: that of its first fold
            "fold_scores": trial.scores,
            "seconds": trial.seconds,
            "memory_mib": trial.memory_mib,
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
        "cv_std": float(np.nanstd(outcome.best.scores)),
        "cv_se": outcome.cv_se,
        "validation_score": outcome.validation_score,
        "validation_se": outcome.validation_se,
        "train_score": outcome.train_score,
        "baseline_score": outcome.baseline_score,
        "threshold": outcome.threshold,
        "trials": len(outcome.trials),
        "seconds": outcome.seconds,
    }
    lake.append([TRIALS.rows(spec.name, trials), CANDIDATES.rows(spec.name, [row])], commit)
    outcome.journal.remove()
