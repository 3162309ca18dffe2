"""The test rows with the highest loss, with their values: where a person looks first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ml_assets.metrics.registry import losses_of
from ml_assets.ml.judged import Array, Judged
from ml_assets.tables.evaluations import EvaluatedNumber

ROWS = 15
FEATURES = 12  # the most important ones
LONGEST = 60  # characters of a value


def worst_rows(judged: Judged, key: Sequence[str], found: Sequence[EvaluatedNumber]) -> dict[str, Any]:
    """The rows that the version predicts worst.

    Args:
        judged: Its predictions on the test rows.
        key: Columns that name a row to a person.
        found: Findings with the scope `importance`.

    Returns:
        loss (what it is), columns, rows: batch, row_id, key, outcome, prediction, loss and the important features.
    """
    losses, what = _losses(judged)
    places = np.argsort(-losses, kind="stable")[:ROWS]
    ranked = sorted((f for f in found if f.scope == "importance"), key=lambda f: -f.value)
    named = [name for name in key if f"slice_{name}" in judged.rows]
    features = [str(finding.slice) for finding in ranked if finding.slice not in named][:FEATURES]
    columns = {
        "batch": judged.rows.get("batch"),
        "row_id": judged.rows.get("row_id"),
        **{name: judged.rows[f"slice_{name}"] for name in named},
        **{name: judged.rows[name] for name in features},
    }
    there = {name: column.iloc[places].tolist() for name, column in columns.items() if column is not None}
    first = len(there) - len(features)
    predicted = judged.probabilities()[0] if judged.schema.kind == "binary" else judged.decisions
    told = {
        f"observed {judged.schema.target}": judged.labels[places].tolist(),
        "predicted": predicted[places].tolist(),
        what: losses[places].tolist(),
    }
    names = [*list(there)[:first], *told, *list(there)[first:]]
    values = {**there, **told}
    return {
        "loss": what,
        "columns": names,
        "rows": [[_text(values[name][place]) for name in names] for place in range(len(places))],
    }


def _losses(judged: Judged) -> tuple[Array, str]:
    if judged.schema.kind == "regression":
        return np.abs(judged.scores - judged.labels), "absolute error"
    given = judged.predictions.outcome_probability
    assert given is not None  # noqa: S101 - a classification has one
    return losses_of(np.asarray(given, dtype="float64")), "log loss"


def _text(value: object) -> str:
    """A value as a cell shows it."""
    if value is None or value != value:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
