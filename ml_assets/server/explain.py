"""Why a score is what it is: how far each feature moves it from what it would be with other values of that feature.

For one feature at a time, the row is scored again with the values that the feature has in a few rows of the training
set, everything else as it is. Its effect is the row's score minus the mean of those: positive where the row's own value
raises the score. Effects are in units of the score, and the same each time. They need not add up to anything: features
that matter only together share what they do. It describes the model, and is no statement about causes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ml_assets.lake.database import in_memory
from ml_assets.lake.sql import identifier, literal
from ml_assets.ml.bundle import Schema
from ml_assets.ml.reference import ROWS
from ml_assets.server.requests import Reason

BACKGROUND = 20  # rows of the training set whose values take the place of a row's own
MAX_SCORED = 50_000  # rows that one request may have scored for its reasons
Features = Mapping[str, Sequence[Any]]


class Scores(Protocol):
    """What explains: a release, or anything that scores features."""

    @property
    def background(self) -> Features:
        """Feature -> its values in a few rows of the training set."""

    def scores_of(self, features: Features) -> Any:
        """Scores, (rows,) or (rows, classes)."""


def background(bundle: Path, schema: Schema) -> dict[str, list[Any]]:
    """The first rows of the sample of the training set that a bundle has; they are a sample, too."""
    file = bundle / ROWS
    if not file.exists():  # of a bundle that is older than its sample
        return {name: [] for name in schema.features}
    columns = [
        f"CAST({identifier(name)} AS {'DOUBLE' if kind == 'number' else 'VARCHAR'})"
        for name, kind in schema.features.items()
    ]
    with in_memory() as con:
        con.execute("SET threads = 1")
        # The reader yields the rows in the order of the file.
        sql = f"SELECT {', '.join(columns)} FROM read_parquet({literal(str(file))}) LIMIT {BACKGROUND}"
        rows = con.execute(sql).fetchall()
    return dict(zip(schema.features, map(list, zip(*rows, strict=True)), strict=True))


def most_rows(scorer: Scores) -> int:
    """Rows of one request that can be explained; 0 where there is nothing to compare them with."""
    one = sum(len(values) for values in scorer.background.values())
    return max(1, MAX_SCORED // one) if one else 0


def explain(scorer: Scores, features: Features, count: int, most: int) -> list[list[Reason]]:
    """The features that move the score of each row most, the strongest first.

    Args:
        scorer: Scores them.
        features: Feature -> value of each row.
        count: Rows.
        most: Features of each row that are named.
    """
    size = len(next(iter(scorer.background.values())))
    block = 1 + len(scorer.background) * size  # the row itself, then its variants, feature by feature
    columns: dict[str, list[Any]] = {}
    for number, (name, others) in enumerate(scorer.background.items()):
        before, after = number * size + 1, block - (number + 1) * size - 1
        columns[name] = [one for value in features[name] for one in (*[value] * before, *others, *[value] * after)]
    scores = np.asarray(scorer.scores_of(columns)).reshape(count, block, -1)
    decided = scores[:, 0].argmax(axis=1)
    scores = scores[np.arange(count), :, decided]
    effects = scores[:, :1] - scores[:, 1:].reshape(count, -1, size).mean(axis=2)
    names = list(scorer.background)
    return [
        [
            Reason(names[number], _json(features[names[number]][row]), float(effects[row, number]))
            for number in np.argsort(-np.abs(effects[row]), kind="stable")[:most]
        ]
        for row in range(count)
    ]


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
