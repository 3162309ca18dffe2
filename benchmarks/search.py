"""The search against a bare loop of the same fits, one core against two, and the memory of a training run.

    python -m benchmarks.search [--rows 100_000] [--trials 12] [--rounds 3] [--memory-rows 1_500_000]

The bare loop does what a person would write: for each trial and each fold a clone of the same Pipeline is fitted and
scored, one after the other, each with all cores. Both try the same parameters, without pruning, and must reach the same
scores. Memory is that of the command `dagster asset materialize` for training_set, a candidate and trained_model, in a
process of its own, over rows that were ingested before.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from benchmarks import skeleton
from benchmarks.cost import in_other_process, print_setting

GOAL = 1.10  # of the bare loop's wall time
GOAL_CORES = 1.6  # times as fast on two cores
GOAL_TIMES, GOAL_MORE_MIB = 3, 500  # of the feature matrix in float32
FEATURES = 16
BATCHES = 4
CANDIDATES: dict[str, dict[str, Any]] = {
    "boosting": {
        "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
        "params": {"max_iter": 100},
        "search": {"learning_rate": {"low": 0.02, "high": 0.3, "log": True}, "max_leaf_nodes": {"low": 15, "high": 63}},
    },
    "logistic": {
        "estimator": "sklearn.linear_model.LogisticRegression",
        "params": {"max_iter": 300},
        "search": {"C": {"low": 0.001, "high": 10, "log": True}},
    },
}
# 36 numbers, one in twenty missing, and four categories.
NUMBERS, WORDS = 36, 4
SPEC: dict[str, Any] = {
    "name": "wide",
    "source": {"path": "data/incoming", "pattern": r"wide_(?P<batch>\d+)\.parquet", "settle_seconds": 0},
    "columns": [
        {"name": "id", "type": "integer"},
        *({"name": f"number_{n}", "type": "number", "nullable": True} for n in range(NUMBERS)),
        *({"name": f"word_{n}", "type": "string"} for n in range(WORDS)),
        {"name": "hit", "type": "boolean", "outcome": True},
    ],
    "key": ["id"],
    "target": {"name": "is_hit", "sql": "hit", "kind": "binary"},
    "features": "features.sql",
    "split": {"by": "batch", "validation": 1, "test": 1},
    "candidates": {"boosting": CANDIDATES["boosting"]},
    "tuning": {"trials": 2, "folds": 3},
}
INGESTED = ("arrivals", "raw_data", "validated_data", "quarantine", "features")
FEATURES_SQL = "SELECT * EXCLUDE (batch, id) FROM batch"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="rows that are searched on; 0 leaves it out")
    parser.add_argument("--trials", type=int, default=12, help="trials of each search (default: 12)")
    parser.add_argument("--rounds", type=int, default=3, help="times that all are run, in turn (default: 3)")
    parser.add_argument("--memory-rows", type=int, default=1_500_000, help="rows of the training run; 0 leaves it out")
    options = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as the job sets it
    print_setting("search", ("scikit-learn", "optuna", "dagster", "duckdb"))
    met = True
    if options.rows:
        for name in CANDIDATES:
            met &= speed(name, options.rows, options.trials, options.rounds)
    if options.memory_rows:
        with tempfile.TemporaryDirectory(prefix="search-") as temporary:
            met &= memory(Path(temporary), options.memory_rows)
    return 0 if met else 1


def speed(name: str, rows: int, trials: int, rounds: int) -> bool:
    """A candidate's search on one and on two cores, and the bare loop, in turn. Are the goals met?"""
    print(f"\n{name}: {trials} trials, 3 folds in time, {rows:,} rows of {FEATURES} features", flush=True)
    seconds: dict[str, list[float]] = {"two cores": [], "one core": [], "bare loop": []}
    scores: list[Any] = []
    for number in range(1, rounds + 1):
        for way, times in seconds.items():
            took, reached = in_other_process(run_search, name, rows, trials, way)
            times.append(took)
            scores.append(reached)
        print(f"round {number}  " + ", ".join(f"{way} {times[-1]:.2f} s" for way, times in seconds.items()), flush=True)
    two, one, bare = (statistics.median(times) for times in seconds.values())
    same = all(close(reached, scores[0]) for reached in scores)
    print(f"search against the bare loop {two / bare:.2f} (goal: at most {GOAL}), on one core {one / bare:.2f}")
    print(f"two cores against one {one / two:.2f} (goal: at least {GOAL_CORES}); the same scores: {same}", flush=True)
    return two / bare <= GOAL and one / two >= GOAL_CORES and same


def close(one: list[float], other: list[float]) -> bool:
    """Whether scores agree but for rounding."""
    return len(one) == len(other) and all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def run_search(name: str, rows: int, trials: int, way: str) -> tuple[float, list[float]]:
    """Seconds and scores of one search, or of the bare loop over the parameters that it tries."""
    import numpy as np
    import pandas as pd
    from sklearn.base import clone
    from sklearn.metrics import roc_auc_score

    from ml_assets.graph.training.search import Folds, search
    from ml_assets.graph.training.trials import Task
    from ml_assets.ml import estimators
    from ml_assets.ml.folds import folds
    from ml_assets.spec import Candidate, Tuning

    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(rows, FEATURES - 2))
    labels = (numbers[:, 0] + numbers[:, 1] * numbers[:, 2] + rng.normal(size=rows) > 0).astype(int)
    frame = pd.DataFrame(numbers, columns=[f"number_{n}" for n in range(FEATURES - 2)])
    for n in range(2):
        frame[f"word_{n}"] = rng.choice([f"w{k}" for k in range(30)], rows).astype(object)
    types = {column: "category" if column.startswith("word") else "number" for column in frame}
    candidate = Candidate.model_validate(CANDIDATES[name])
    positions = folds("batch", 3, labels, None, 0)
    task = Task(candidate, "binary", "roc_auc", [0, 1], 0)
    params = random_params(candidate, trials)
    clone(estimators.make_model(candidate.estimator, candidate.params, types, 0))  # imports are no part of either way
    if way != "bare loop":
        started = time.perf_counter()
        done = search(
            Folds(task, frame, labels, types, positions),
            Tuning(trials=trials, prune=False, seconds=1e6, sampler="random"),
            cores=2 if way == "two cores" else 1,
        )
        return time.perf_counter() - started, [trial.mean for trial in done]
    started = time.perf_counter()
    model = estimators.make_model(candidate.estimator, candidate.params, types, 0)
    scores = []
    for chosen in params:
        fold_scores = []
        for train, held in positions:
            one = clone(model).set_params(**{f"estimator__{key}": value for key, value in chosen.items()})
            one.fit(frame.iloc[train], labels[train])
            fold_scores.append(roc_auc_score(labels[held], one.predict_proba(frame.iloc[held])[:, 1]))
        scores.append(float(np.mean(fold_scores)))
    return time.perf_counter() - started, scores


def random_params(candidate: Any, trials: int) -> list[dict[str, Any]]:
    """The parameters that the random search with seed 0 tries."""
    import optuna

    from ml_assets.graph.training.search import _suggested

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [{**candidate.params, **_suggested(study.ask(), candidate)} for _ in range(trials)]


def memory(folder: Path, rows: int) -> bool:
    """Peak of a training run in a process of its own, over its float32 feature matrix. Is the goal met?"""
    in_other_process(ingest, folder, rows)
    cost = skeleton.materialize(folder, skeleton.keys("wide", ["training_set", "candidate_boosting", "trained_model"]))
    used = rows * (BATCHES - 1) // BATCHES  # train and validation; test rows are not read
    matrix_mib = used * (NUMBERS + WORDS) * 4 / 1024**2
    goal_mib = GOAL_TIMES * matrix_mib + GOAL_MORE_MIB
    met = cost.peak_mib <= goal_mib
    print(f"\ntraining run: {used:,} train and validation rows of {NUMBERS + WORDS} features, {cost.wall_s:.0f} s")
    print(
        f"peak {cost.peak_mib:.0f} MiB; the matrix in float32 {matrix_mib:.0f} MiB: {cost.peak_mib / matrix_mib:.1f} "
        f"times in all, {(cost.peak_mib - GOAL_MORE_MIB) / matrix_mib:.1f} times beyond {GOAL_MORE_MIB} MiB"
    )
    print(
        f"goal: {GOAL_TIMES} times and {GOAL_MORE_MIB} MiB = {goal_mib:.0f} MiB; {'met' if met else 'NOT met'}",
        flush=True,
    )
    return met


def ingest(folder: Path, rows: int) -> None:
    """A project whose features are made."""
    import dagster as dg

    from ml_assets.component import build_pipeline
    from ml_assets.lake.paths import Paths
    from ml_assets.spec import PipelineSpec

    warnings.simplefilter("ignore")  # Dagster marks backfill policies and checks per partition as young
    skeleton.make(folder)
    defs = skeleton.declare(folder, SPEC, {"features.sql": FEATURES_SQL})
    batches = [str(number) for number in range(1, BATCHES + 1)]
    for number, batch in enumerate(batches):
        write_batch(folder, batch, rows * number // BATCHES, rows * (number + 1) // BATCHES)
    spec, paths = PipelineSpec.model_validate(SPEC), Paths(folder, folder / "data")
    made = dg.Definitions.merge(build_pipeline(spec, defs, paths), dg.Definitions(executor=dg.in_process_executor))
    with dg.DagsterInstance.from_config(str(folder / "data" / "dagster")) as instance:
        instance.add_dynamic_partitions("wide_batches", batches)
        made.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(["wide", asset_name]) for asset_name in INGESTED],
            tags={
                "dagster/asset_partition_range_start": batches[0],
                "dagster/asset_partition_range_end": batches[-1],
            },
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        )


def write_batch(folder: Path, batch: str, first: int, last: int) -> None:
    """Let a file arrive, with the rows of these numbers."""
    import duckdb

    numbers = ", ".join(
        f"CASE WHEN hash(r, {n}) % 20 > 0 THEN hash(r, {100 + n}) % 1e6 / 1e3 END AS number_{n}" for n in range(NUMBERS)
    )
    words = ", ".join(f"'w' || hash(r, {200 + n}) % 50 AS word_{n}" for n in range(WORDS))
    hit = "(coalesce(number_0, 0) + coalesce(number_1, 0) + hash(r, 300) % 1000) > 1500 AS hit"
    select = f"SELECT r AS id, {numbers}, {words}, {hit} FROM range({first}, {last}) t(r)"
    with duckdb.connect() as con:
        con.execute(f"COPY ({select}) TO '{folder}/data/incoming/wide_{batch}.parquet' (FORMAT parquet)")


if __name__ == "__main__":
    sys.exit(main())
