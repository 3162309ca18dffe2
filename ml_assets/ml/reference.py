"""What a version was fitted on, in short, kept in its bundle: later batches are compared with it.

reference.parquet   a seeded sample of the fitted rows: the features, and `prediction`, what the model says of them
reference.json      facts of all fitted rows, by feature
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

ROWS, FACTS = "reference.parquet", "reference.json"
PREDICTION = "prediction"
PROBABILITIES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TOP = 20
DIGITS = 10  # sums of floats depend on the order of summing beyond them


@dataclass(frozen=True)
class Reference:
    """What a version was fitted on.

    Args:
        rows: Sample of the fitted rows, in random order, so that its first rows are one, too: features, `prediction`.
        facts: Feature -> `fact` of all fitted rows.
    """

    rows: pd.DataFrame
    facts: Mapping[str, Mapping[str, Any]]


def take(features: pd.DataFrame, types: Mapping[str, str], rows: int, seed: int) -> Reference:
    """The reference of fitted rows, without predictions so far.

    Args:
        features: Feature frame of all of them.
        types: Feature -> number | category.
        rows: Maximum number that is kept.
        seed: Draws them.
    """
    sample = features.sample(min(rows, len(features)), random_state=seed, ignore_index=True)
    return Reference(sample, {name: fact(features[name], kind) for name, kind in types.items()})


def answered(rows: pd.DataFrame, scores: np.ndarray[Any, Any]) -> pd.DataFrame:
    """Rows with a model's predictions: probability of 1 (binary), of the likeliest class (multiclass), or the value."""
    return rows.assign(**{PREDICTION: scores.max(axis=1) if scores.ndim == 2 else scores})


def fact(values: pd.Series, kind: str) -> dict[str, Any]:
    """Facts of one column: kind, rows, missing; mean, std, quantiles of finite numbers; the most frequent categories.

    Quantiles are by probability. Categories are up to 20 with their shares among the values that are there, and
    `distinct` counts all of them.
    """
    found: dict[str, Any] = {"kind": kind, "rows": len(values)}
    if kind == "category":
        counts = values.value_counts()
        shares = sorted(
            ((str(name), int(count)) for name, count in counts.items()), key=lambda pair: (-pair[1], pair[0])
        )
        there = int(counts.sum())
        top = {name: _rounded(count / there) for name, count in shares[:TOP]}
        return {**found, "missing": len(values) - there, "distinct": len(counts), "categories": top}
    numbers = values.to_numpy("float64")
    numbers = numbers[np.isfinite(numbers)]
    found |= {"missing": len(values) - len(numbers)}
    if not len(numbers):
        return {**found, "mean": None, "std": None, "quantiles": {}}
    quantiles = np.quantile(numbers, PROBABILITIES)
    return {
        **found,
        "mean": _rounded(numbers.mean()),
        "std": _rounded(numbers.std()),
        "quantiles": {str(p): _rounded(value) for p, value in zip(PROBABILITIES, quantiles, strict=True)},
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def write(folder: Path, reference: Reference) -> None:
    """Write both files."""
    reference.rows.to_parquet(folder / ROWS, index=False)
    (folder / FACTS).write_text(json.dumps(reference.facts, indent=1))


def read(folder: Path, rows: int) -> Reference | None:
    """The reference in a bundle, with at most this many rows; None where the bundle is older than references."""
    import pandas as pd

    if not (folder / ROWS).exists():
        return None
    return Reference(pd.read_parquet(folder / ROWS).head(rows), json.loads((folder / FACTS).read_text()))
