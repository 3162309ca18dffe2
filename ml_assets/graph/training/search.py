"""The search for a candidate's parameters: Optuna over cross-validation folds, with every trial kept.

Trials are chosen in rounds of `tuning.parallel` and told in order, so that what is chosen next depends on that number
and never on how many cores there are or which fit ends first. Preprocessing is fitted once per fold and shared by all
trials, which differ in the estimator's parameters only.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from ml_assets import metrics
from ml_assets.errors import TrainingError
from ml_assets.graph.training.journal import Journal
from ml_assets.graph.training.trials import Fit, Fold, Task, Trial, finish, side_by_side
from ml_assets.ml import estimators, preprocessing
from ml_assets.spec import Candidate, Range, Tuning

Array = np.ndarray[Any, Any]
OnTrial = Callable[[Trial, Trial | None], None]
# Fits trials on folds of these numbers; yields the number of the trial, that of the fold and the fit, as they end.
FitAll = Callable[[Sequence[Trial], Sequence[int]], Iterator[tuple[int, int, Fit]]]
# Where the fits of a search run.
Compute = Callable[["Folds"], AbstractContextManager[FitAll]]

# Prepared folds are kept as long as all of them are smaller than this; larger ones are made again in each round.
CACHE_BYTES = 64 * 1024**2
# Finished trials before the first one may be pruned.
PRUNE_AFTER = 4
# First trials that are spread over the ranges; those after them follow the scores.
SPREAD = 10
DESIGNS = 100


class Folds:
    """The folds of a candidate; each is preprocessed when it is asked for.

    Args:
        task: Estimator and preprocessing.
        features: Feature frame, shape (n, features).
        labels: Labels, shape (n,).
        types: Feature name -> number | category.
        positions: Row positions (train, validation) of each fold.

    Raises:
        TrainingError: No fold has two classes to train on.
    """

    def __init__(
        self,
        task: Task,
        features: Any,
        labels: Array,
        types: preprocessing.FeatureTypes,
        positions: Sequence[tuple[Array, Array]],
    ) -> None:
        self.task, self.features, self.labels, self.types = task, features, labels, types
        self.positions = [
            pair for pair in positions if task.kind == "regression" or len(np.unique(labels[pair[0]])) > 1
        ]
        if not self.positions:
            raise TrainingError(
                "No cross-validation fold has rows of two classes to train on.",
                fix="Set tuning.folds lower, or split: {by: stratified, ...}.",
            )
        self._kept: dict[int, Fold] = {}
        self.are_small = False

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, number: int) -> Fold:
        if number not in self._kept:
            if not self.are_small:
                self._kept.clear()  # before the next one is made
            made = self._kept[number] = self._prepared(number)
            made_rows = sum(map(len, self.positions[number]))
            all_rows = sum(len(rows) for pair in self.positions for rows in pair)
            self.are_small = (_size(made.train) + _size(made.validation)) / made_rows * all_rows < CACHE_BYTES
        return self._kept[number]

    def groups(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Folds that may be held at the same time: all of them while they are small, else one by one."""
        self[numbers[0]]  # tells how large they are
        yield from [list(numbers)] if self.are_small else ([number] for number in numbers)

    def _prepared(self, number: int) -> Fold:
        task = self.task
        train, validation = (_slice(rows) for rows in self.positions[number])
        rows, labels = self.features.iloc[train], self.labels[train]
        present = estimators.present(rows, self.types)
        estimator = estimators.make_estimator(task.candidate.estimator, task.candidate.params, task.seed)
        steps = preprocessing.make_steps(estimator, present, task.candidate.preprocess, task.kind, task.seed)
        return Fold(
            preprocessing.fit_transform(steps, rows, labels),
            labels,
            preprocessing.transform(steps, self.features.iloc[validation]),
            self.labels[validation],
        )


def _slice(rows: Array) -> Array | slice:
    """Adjacent rows as a slice, which a frame gives without a copy."""
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows[-1] - rows[0] + 1 == len(rows) else rows


def _size(matrix: Any) -> int:
    return int(matrix.nbytes if isinstance(matrix, np.ndarray) else matrix.data.nbytes * 2)


def load_optuna() -> None:
    """Import Optuna while nothing large is held.

    It keeps the exceptions of its optional imports, and these all callers' frames of the first import with their rows.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def search(
    folds: Folds,
    tuning: Tuning,
    on_trial: OnTrial | None = None,
    journal: Journal | None = None,
    cores: int | None = None,
    compute: Compute | None = None,
) -> list[Trial]:
    """Try parameters until trials, the grid or the seconds are used up.

    Args:
        folds: The candidate's folds; without a search space there is one trial.
        tuning: Budgets, sampler, pruning and seed.
        on_trial: Called after each trial, in order, with it and the best so far.
        journal: Trials that it holds are taken from there instead of being fitted; others are added.
        cores: Fits that run side by side; by default the cores that this process may use.
        compute: Where the fits run; by default in threads of this process.

    Returns:
        All trials, in order.

    Raises:
        TrainingError: Every trial failed, or a parameter does not exist.
    """
    with compute(folds) if compute else _on_this_machine(folds, cores or available_cores()) as fit_all:
        return _Search(folds, tuning, on_trial, journal or Journal(), fit_all).run()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _on_this_machine(folds: Folds, cores: int) -> Iterator[FitAll]:
    """Threads, which share the rows; folds that are large are held one by one."""
    with side_by_side(cores) as run:

        def fit_all(trials: Sequence[Trial], numbers: Sequence[int]) -> Iterator[tuple[int, int, Fit]]:
            for held in folds.groups(numbers):
                made = dict(run([partial(_fold, folds, number) for number in held]))
                tasks = [
                    partial(_fit_one, folds.task, trial, number, made[number])
                    for number in largest_first(held)
                    for trial in trials
                ]
                yield from run(tasks)
                del made, tasks  # before the next fold is prepared

        yield fit_all


def largest_first(numbers: Sequence[int]) -> list[int]:
    """Folds in the order in which their fits begin: windows in time grow, and so the fits end together."""
    return sorted(numbers, reverse=True)


def _fold(folds: Folds, number: int, _threads: int) -> tuple[int, Fold]:
    return number, folds[number]


def _fit_one(task: Task, trial: Trial, number: int, fold: Fold, threads: int) -> tuple[int, int, Fit]:
    return trial.number, number, task.fit(trial.params, fold, threads)


class _Search:
    def __init__(
        self, folds: Folds, tuning: Tuning, on_trial: OnTrial | None, journal: Journal, fit_all: FitAll
    ) -> None:
        self.folds, self.task, self.tuning = folds, folds.task, tuning
        self.on_trial, self.journal, self.fit_all = on_trial, journal, fit_all
        self.study = _study(self.task, tuning)
        self.grid = _grid(self.task.candidate, tuning) if tuning.sampler == "grid" else None
        self.planned = self.grid or (_spread(self.task.candidate, tuning) if tuning.sampler == "tpe" else [])
        self.trials: list[Trial] = []
        self.started = time.monotonic() - journal.seconds

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def run(self) -> list[Trial]:
        budget = self.tuning.trials if self.task.candidate.search else 1
        limit = budget if self.grid is None else len(self.grid)
        while len(self.trials) < limit and (self._is_recorded() or self.elapsed < self.tuning.seconds):
            self._round(min(self.tuning.parallel, limit - len(self.trials)))
        if all(trial.error for trial in self.trials):
            raise TrainingError(
                "Every trial failed.",
                found=self.trials[-1].error,
                where={"estimator": self.task.candidate.estimator},
                fix="Correct its parameters.",
            )
        return self.trials

    def _is_recorded(self) -> bool:
        """Whether the next round has begun before: it is finished whatever the seconds."""
        first = len(self.trials)
        return any(first <= number < first + self.tuning.parallel for number in self.journal.recorded)

    def _round(self, size: int) -> None:
        asked = [self._ask(len(self.trials) + number) for number in range(size)]
        todo = [(one, trial) for one, trial in asked if trial.state == "running"]
        fits: dict[int, list[Fit | None]] = {trial.number: [None] * len(self.folds) for _, trial in todo}
        first = 0
        if todo and self._may_prune():
            first = 1
            self._fit([trial for _, trial in todo], [0], fits)
            for one, trial in todo:
                self._prune(one, trial, fits[trial.number])
        going = [trial for _, trial in todo if trial.state == "running"]
        if going and first < len(self.folds):
            self._fit(going, range(first, len(self.folds)), fits)
        for one, trial in asked:
            self._tell(one, trial)

    def _may_prune(self) -> bool:
        """Whether the first folds of a round are worth waiting for before the others begin."""
        complete = sum(trial.state == "complete" for trial in self.trials)
        return self.tuning.prune and len(self.folds) > 1 and complete >= PRUNE_AFTER

    def _ask(self, number: int) -> tuple[Any, Trial]:
        """The next parameters; of a trial that is in the journal, what came of them."""
        if number < len(self.planned):
            self.study.enqueue_trial(self.planned[number])
        one = self.study.ask()
        candidate = self.task.candidate
        trial = Trial(number, {**candidate.params, **_suggested(one, candidate)})
        line = dict(self.journal.recorded.get(number, {}))
        line.pop("elapsed", None)
        if line.get("params") == trial.params:
            trial = Trial(**line)
        return one, trial

    def _fit(self, trials: list[Trial], numbers: Sequence[int], fits: dict[int, list[Fit | None]]) -> None:
        by_number = {trial.number: trial for trial in trials}
        for trial, number, fit in self.fit_all(trials, numbers):
            fits[trial][number] = fit
            if None not in fits[trial]:
                self._finish(by_number[trial], fits[trial])

    def _prune(self, one: Any, trial: Trial, fits: list[Fit | None]) -> None:
        """Stop a trial whose first fold failed, or did worse than the median of those before."""
        fit = fits[0]
        if fit is None or fit.error:
            self._finish(trial, fits)
        elif not math.isnan(fit.score):
            one.report(fit.score, 0)
            if one.should_prune():
                self._finish(trial, fits, "pruned")

    def _finish(self, trial: Trial, fits: list[Fit | None], state: str = "complete") -> None:
        finish(trial, [fit for fit in fits if fit is not None], state)
        self.journal.write({**asdict(trial), "elapsed": self.elapsed})

    def _tell(self, one: Any, trial: Trial) -> None:
        from optuna.trial import TrialState

        reported = self.study.trials[trial.number].intermediate_values
        if trial.scores and not reported and not math.isnan(trial.scores[0]):
            one.report(trial.scores[0], 0)
        if trial.state == "complete":
            self.study.tell(one, trial.mean)
        else:
            self.study.tell(one, state=TrialState.PRUNED if trial.state == "pruned" else TrialState.FAIL)
        self.trials.append(trial)
        if self.on_trial:
            self.on_trial(trial, best(self.trials, self.task.metric))


def best(trials: Sequence[Trial], metric: str) -> Trial | None:
    """The complete trial with the best mean score, the first of equals; None where there is none."""
    done = [trial for trial in trials if trial.state == "complete"]
    return max(done, key=lambda trial: metrics.METRICS[metric].gain(trial.mean, 0.0), default=None)


def _study(task: Task, tuning: Tuning) -> Any:
    import optuna

    load_optuna()
    samplers = optuna.samplers
    if tuning.sampler == "tpe":
        sampler = samplers.TPESampler(seed=tuning.seed, n_startup_trials=SPREAD)
    else:
        sampler = samplers.RandomSampler(seed=tuning.seed)
    return optuna.create_study(
        direction=metrics.METRICS[task.metric].direction,
        sampler=sampler,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=PRUNE_AFTER),
    )


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


def _spread(candidate: Candidate, tuning: Tuning) -> list[dict[str, Any]]:
    """The first trials: a Latin hypercube, in which each trial has a part of each range for itself.

    Points drawn at random crowd: of a learning rate from 0.03 to 0.3, seed 0 draws 0.106, 0.120, 0.080 and 0.082. Of
    many such hypercubes it is the one whose closest points are farthest apart.
    """
    count, names = min(tuning.trials, SPREAD), list(candidate.search)
    if not names:
        return []
    drawn = np.random.default_rng(tuning.seed).random((DESIGNS, count, len(names)))
    design = max(drawn.argsort(axis=1), key=_closest)
    planned = [
        {name: _at(candidate.search[name], place) for name, place in zip(names, row, strict=True)}
        for row in ((design + 0.5) / count).tolist()
    ]
    return [point for number, point in enumerate(planned) if point not in planned[:number]]


def _closest(points: Array) -> float:
    """Squared distance of the two closest points, shape (n, dimensions)."""
    apart = np.square(points[:, None] - points[None]).sum(axis=-1)
    pairs = apart[np.triu_indices(len(points), 1)]
    return float(pairs.min()) if len(pairs) else 0.0


def _at(space: Range | list[Any], place: float) -> Any:
    """The value at a place from 0 to 1 of a range or of a list of choices."""
    if not isinstance(space, Range):
        return space[int(place * len(space))]
    low, high = space.low, space.high
    value = low * (high / low) ** place if space.log else low + (high - low) * place
    return min(max(round(value), low), high) if isinstance(low, int) and isinstance(high, int) else value


def _grid(candidate: Candidate, tuning: Tuning) -> list[dict[str, Any]]:
    """Combinations of a grid, at most as many as trials, in an order that the seed draws: a part is spread out."""
    axes = {name: _points(space) for name, space in candidate.search.items()}
    sizes = [len(points) for points in axes.values()]
    total = min(math.prod(sizes), np.iinfo(np.int64).max)
    chosen = np.random.default_rng(tuning.seed).choice(total, min(total, tuning.trials), replace=False)
    combinations = []
    for number in chosen.tolist():
        values = {}
        for name, points in axes.items():
            number, place = divmod(number, len(points))
            values[name] = points[place]
        combinations.append(values)
    return combinations


def _points(space: Range | list[Any]) -> list[Any]:
    if not isinstance(space, Range):
        return space
    spaced = np.geomspace if space.log else np.linspace
    points = np.clip(spaced(space.low, space.high, space.steps), space.low, space.high).tolist()
    if isinstance(space.low, int) and isinstance(space.high, int):
        return sorted({round(point) for point in points})
    return points
