"""Trials of the searches, appended by each search in one write."""

from __future__ import annotations

import json
from typing import Any

from ml_assets.errors import LakeError, did_you_mean
from ml_assets.lake.lake import Lake
from ml_assets.tables.table import Column, Table

SEARCH = ("pin_id", "candidate", "code_version")  # the same search again replaces its rows
TRIALS = Table(
    "trials",
    "A trial of a candidate's search.",
    (
        Column("pin_id", "VARCHAR", "The training set that was searched on."),
        Column("candidate", "VARCHAR", "Name of the candidate in the YAML."),
        Column("trial", "INTEGER", "Number of the trial in its search, from 0."),
        Column("state", "VARCHAR", "complete, pruned or failed."),
        Column("params", "JSON", "Parameters that were tried."),
        Column("metric", "VARCHAR", "The metric of `score`."),
        Column("score", "DOUBLE", "Mean over the folds; of a pruned trial that of its first fold; NULL if it failed."),
        Column("fold_scores", "DOUBLE[]", "Score on each fold."),
        Column("seconds", "DOUBLE", "How long it took."),
        Column("memory_mib", "DOUBLE", "Memory that it used, in MiB."),
        Column("error", "VARCHAR", "Why it failed."),
        Column("warning", "VARCHAR", "What the estimator warned of."),
        Column("seed", "BIGINT", "Seed of the search."),
        Column("code_version", "VARCHAR", "Code version of the candidate's asset."),
        Column("run_id", "VARCHAR", "Dagster run."),
        Column("finished_at", "TIMESTAMP", "When the search ended, UTC."),
    ),
    written_by="asset candidate_NAME",
    key=SEARCH,
    format=2,
)


def newest(lake: Lake, pipeline: str, pin_id: str) -> list[dict[str, Any]]:
    """The trials of each candidate's newest search on a training set, in order; `params` are dictionaries."""
    rows = TRIALS.query(
        lake,
        pipeline,
        """SELECT * FROM {t} WHERE pin_id = ?
        QUALIFY finished_at = max(finished_at) OVER (PARTITION BY candidate) ORDER BY candidate, trial""",
        [pin_id],
    )
    return [{**row, "params": json.loads(row["params"])} for row in rows]


def need_newest(lake: Lake, pipeline: str, candidate: str | None, pin: str | None) -> list[dict[str, Any]]:
    """The same of one candidate, or all; by default on the training set that was searched on last.

    Raises:
        LakeError: There are no trials, no such candidate or no such training set.
    """
    rows = TRIALS.query(lake, pipeline, "SELECT pin_id FROM {t} GROUP BY pin_id ORDER BY max(finished_at) DESC")
    pins = [row["pin_id"] for row in rows]
    if not pins:
        raise LakeError(
            f"The pipeline {pipeline} has no trials yet.",
            fix=f"Run `ml-assets train {pipeline}`.",
        )
    if pin is not None and pin not in pins:
        raise LakeError(f"No trial of {pipeline} was on training set {pin!r}.", fix=did_you_mean(pin, pins))
    found = newest(lake, pipeline, pin or pins[0])
    names = sorted({row["candidate"] for row in found})
    if candidate is not None and candidate not in names:
        raise LakeError(f"{pipeline} has no trials of a candidate {candidate!r}.", fix=did_you_mean(candidate, names))
    return [row for row in found if candidate in (None, row["candidate"])]
