"""What a release says about itself, and its golden rows: written when it is packed, read by the server.

bundle/          bundle of the model that answers, unchanged
judged/          bundle of the model that was evaluated, where that is another one
lookups/         each lookup as the newest batch of the training set saw it
references/      each reference table
release.json     the facts below
golden.json      requests, and what the batch path answered to them
metrics.json, model_card.md
server.zip       the server's source, and that of the features function
requirements.txt, Dockerfile
manifest.json    SHA-256 of every other file
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FACTS, GOLDEN, SOURCES = "release.json", "golden.json", "server.zip"
PARITY = 1e-5
JUDGED = "judged"


@dataclass(frozen=True)
class Facts:
    """What the server must know beside the bundle's schema.

    Args:
        pipeline: The pipeline.
        version: The model version.
        batch: The batch that lookups and golden rows are of.
        sql: File of the features SELECT in the bundle; None where a function makes them.
        function: `module:name` of the features function.
        parameters: Names of the views that it takes.
        lookups: Lookup -> its key.
        references: Names of the reference tables.
        parity: Largest difference from the golden answers with which the server starts.
        models: Folder of the release -> which model it holds, its digest, and the rows that it was fitted on.
    """

    pipeline: str
    version: str
    batch: str
    sql: str | None
    function: str | None
    parameters: list[str]
    lookups: dict[str, list[str]]
    references: list[str]
    parity: float = PARITY
    models: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Golden:
    """Requests and the answers of the batch path.

    Args:
        rows: Column -> value, as in a request.
        scores: As in `predictions`.
        decisions: As in `predictions`.
    """

    rows: list[dict[str, Any]]
    scores: list[float]
    decisions: list[str]


def write(folder: Path, facts: Facts, golden: Golden) -> None:
    """Write both files."""
    (folder / FACTS).write_text(json.dumps(asdict(facts), indent=2))
    (folder / GOLDEN).write_text(json.dumps(asdict(golden), default=_text))


def _text(value: Any) -> str:
    if isinstance(value, dt.date):  # a datetime is one, too
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} is no value of a request")


def read_facts(folder: Path) -> Facts:
    """The facts of a release."""
    return Facts(**json.loads((folder / FACTS).read_text()))


def read_golden(folder: Path) -> Golden:
    """The golden rows of a release."""
    return Golden(**json.loads((folder / GOLDEN).read_text()))


def difference(golden: Golden, scores: Sequence[float], decisions: Sequence[str], is_class: bool) -> float:
    """The largest difference from the golden scores, relative for values beyond 1; infinite for another decision."""
    if len(scores) != len(golden.scores) or (is_class and list(decisions) != golden.decisions):
        return float("inf")
    expected, found = np.asarray(golden.scores), np.asarray(scores, dtype=np.float64)
    gaps = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    return float("inf") if np.isnan(gaps).any() else float(gaps.max(initial=0.0))
