"""One trial: its fits on the folds, and what they leave behind. Fits run side by side in threads."""

from __future__ import annotations

import contextlib
import resource
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml_assets import metrics
from ml_assets.errors import MLAssetsError
from ml_assets.ml import estimators
from ml_assets.spec import Candidate

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
    """One set of parameters and how it did.

    Args:
        number: Its place in the search.
        params: Parameters of the estimator, fixed ones included.
        state: running, complete, pruned (stopped after its first fold) or failed.
        scores: Metric on each fold that was fitted, NaN where it is not defined.
        seconds: Of all its fits, one after the other.
        memory_mib: Most memory that a process of its fits had used when they ended.
        error: Why it failed.
        warning: The first warning of its fits.
    """

    number: int
    params: dict[str, Any]
    state: str = "running"
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    memory_mib: float | None = None
    error: str | None = None
    warning: str | None = None

    @property
    def mean(self) -> float:
        """Mean over the folds on which the metric is defined; NaN where there is none."""
        defined = [score for score in self.scores if not np.isnan(score)]
        return float(np.mean(defined)) if defined else float("nan")


@dataclass(frozen=True)
class Fit:
    """What one trial did on one fold, and the most memory that its process had used by then."""

    score: float
    seconds: float
    warning: str | None = None
    error: str | None = None
    memory_mib: float = 0.0


@dataclass(frozen=True)
class Task:
    """What all trials of a search have in common.

    Args:
        candidate: Estimator, preprocessing, calibration.
        kind: binary, multiclass or regression.
        metric: What is optimised.
        classes: All labels that rows of the search have, in order.
        seed: Seed of estimators and draws.
    """

    candidate: Candidate
    kind: str
    metric: str
    classes: list[Any]
    seed: int

    def fit(self, params: dict[str, Any], fold: Fold, threads: int) -> Fit:
        """Fit and score one fold with this many threads. An error of the estimator is an outcome, not an exception."""
        started = time.perf_counter()
        _caught.messages = []
        error, score = None, float("nan")
        try:
            score = self._score(self.scores(params, fold, threads), fold)
        except MLAssetsError:
            raise
        except Exception as caught:  # an estimator may raise anything for parameters that it cannot take
            error = f"{type(caught).__name__}: {caught}"
        warning = next(iter(_caught.messages), None)
        return Fit(score, time.perf_counter() - started, warning, error, peak_mib())

    def scores(self, params: dict[str, Any], fold: Fold, threads: int) -> Array:
        """What a model that was fitted on a fold's train rows predicts for its validation rows."""
        from ml_assets.ml.balanced_fit import fit

        candidate = self.candidate
        balance = candidate.preprocess.balance
        with _openmp(threads):
            model = estimators.make_last(
                candidate.estimator, params, self.seed, self.kind, balance, candidate.calibrate, threads
            )
            fit(model, fold.train, fold.train_labels, balance, self.seed)
            scores = estimators.predict_scores(model, fold.validation, self.kind)
        return _aligned(scores, list(model.classes_), self.classes) if self.kind == "multiclass" else scores

    def _score(self, scores: Array, fold: Fold) -> float:
        names = [str(name) for name in self.classes]
        return metrics.score(self.metric, fold.validation_labels, scores, self.kind, None, names)


def _aligned(scores: Array, known: list[Any], classes: list[Any]) -> Array:
    """Probabilities with a column for each class; those that the train rows of a fold lack have none."""
    if len(known) == len(classes):
        return scores
    whole = np.zeros((len(scores), len(classes)))
    whole[:, [classes.index(name) for name in known]] = scores
    return whole


def finish(trial: Trial, fits: list[Fit], state: str = "complete") -> None:
    """Sum up a trial's fits."""
    trial.scores = [fit.score for fit in fits if fit.error is None]
    trial.seconds = sum(fit.seconds for fit in fits)
    trial.warning = next((fit.warning for fit in fits if fit.warning), None)
    trial.error = next((fit.error for fit in fits if fit.error), None)
    if trial.error is None and np.isnan(trial.mean):
        trial.error = "the metric is not defined on any fold: each may hold one class only"
    trial.state = "failed" if trial.error else state
    trial.memory_mib = max(fit.memory_mib for fit in fits)


def peak_mib() -> float:
    """Most memory that this process has used so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)


_caught = threading.local()


@contextlib.contextmanager
def warnings_by_thread() -> Iterator[None]:
    """Let each thread's warnings go to its own fit. `warnings.catch_warnings` in the threads would mix them up."""

    def keep(message: Warning | str, *_: Any, **__: Any) -> None:
        if hasattr(_caught, "messages"):
            _caught.messages.append(str(message).splitlines()[0])

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = keep
        yield


@contextlib.contextmanager
def blas(threads: int) -> Iterator[None]:
    """Limit BLAS in this process."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, user_api="blas"):
        yield


@contextlib.contextmanager
def _openmp(threads: int) -> Iterator[None]:
    """Limit OpenMP in this thread; its limit is the thread's own, while that of BLAS is the process's."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, user_api="openmp"):
        yield


@contextlib.contextmanager
def side_by_side(cores: int) -> Iterator[Callable[[Sequence[Callable[[int], Any]]], Iterator[Any]]]:
    """A function that runs tasks in threads and yields what they return, as they end.

    Each task is given a number of threads of its own: one where tasks are as many as cores, more where they are fewer.
    Most of a fit is compiled code that lets other threads run; the arrays are shared, which processes would copy.
    """
    from joblib import Parallel, delayed

    with Parallel(cores, backend="threading", return_as="generator_unordered") as parallel:

        def run(tasks: Sequence[Callable[[int], Any]]) -> Iterator[Any]:
            threads = max(1, cores // max(1, len(tasks)))
            with blas(threads), warnings_by_thread():
                yield from parallel(delayed(task)(threads) for task in tasks)

        yield run
