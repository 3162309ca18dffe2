"""Candidates: what each algorithm of a pipeline reached in its search, one row a search."""

from __future__ import annotations

import json
from typing import Any

from ml_assets.errors import TrainingError
from ml_assets.lake.lake import Lake
from ml_assets.ml import selection
from ml_assets.spec import PipelineSpec
from ml_assets.tables.table import Column, Table
from ml_assets.tables.trials import SEARCH

CANDIDATES = Table(
    "candidates",
    "A candidate, tuned on a training set.",
    (
        Column("pin_id", "VARCHAR", "The training set that it was tuned on."),
        Column("candidate", "VARCHAR", "Its name in the YAML."),
        Column("estimator", "VARCHAR", "Import path of its algorithm."),
        Column("params", "JSON", "The parameters of its best trial."),
        Column("metric", "VARCHAR", "The metric of all scores of the row."),
        Column("cv_score", "DOUBLE", "Mean over the folds of the best trial."),
        Column("cv_std", "DOUBLE", "Standard deviation over its folds."),
        Column("cv_se", "DOUBLE", "Standard error of cv_score."),
        Column("validation_score", "DOUBLE", "Score on the validation part."),
        Column("validation_se", "DOUBLE", "Standard error of validation_score."),
        Column("train_score", "DOUBLE", "Score on the train part, which it was fitted on."),
        Column("baseline_score", "DOUBLE", "Score of a model that ignores every feature, on the validation part."),
        Column("threshold", "DOUBLE", "Decision threshold (binary)."),
        Column("trials", "INTEGER", "Number of trials of the search."),
        Column("seconds", "DOUBLE", "How long search and scoring took."),
        Column("code_version", "VARCHAR", "Code version of the candidate's asset."),
        Column("run_id", "VARCHAR", "Dagster run."),
        Column("finished_at", "TIMESTAMP", "When the search ended, UTC."),
    ),
    written_by="asset candidate_NAME",
    key=SEARCH,
    format=2,
)


def asset_name(candidate: str) -> str:
    """The asset that tunes a candidate."""
    return f"candidate_{candidate}"


def newest(
    lake: Lake, pipeline: str, pin_id: str | None = None, metric: str | None = None
) -> dict[str, dict[str, Any]]:
    """Candidate -> the row of its newest search on a training set, in alphabetical order; `params` are dictionaries.

    Args:
        lake: The lake.
        pipeline: The pipeline.
        pin_id: The training set; by default the one of the search that ended last.
        metric: Only searches that were scored by this metric; by default by any.
    """
    rows = CANDIDATES.query(
        lake,
        pipeline,
        """SELECT * FROM {t} WHERE pin_id = coalesce($pin_id, (SELECT max_by(pin_id, finished_at) FROM {t}))
            AND ($metric IS NULL OR metric = $metric)
        QUALIFY row_number() OVER (PARTITION BY candidate ORDER BY finished_at DESC) = 1 ORDER BY candidate""",
        {"pin_id": pin_id, "metric": metric},
    )
    return {row["candidate"]: {**row, "params": json.loads(row["params"])} for row in rows}


def ranking(lake: Lake, spec: PipelineSpec, pin_id: str) -> list[dict[str, Any]]:
    """The newest row of each candidate of the YAML on a training set, the best by all its scores first.

    Raises:
        TrainingError: A candidate has not been trained on it.
    """
    found = newest(lake, spec.name, pin_id, spec.metric)
    missing = sorted(set(spec.candidates) - set(found))
    if missing:
        raise TrainingError(
            f"The candidate {missing[0]!r} has not been trained on the newest training set.",
            where={"pipeline": spec.name, "pin": pin_id},
            fix=f"Materialize {spec.name}/{asset_name(missing[0])}, or run the job {spec.name}_train.",
        )
    return selection.ranked([row for name, row in found.items() if name in spec.candidates], spec.metric)
