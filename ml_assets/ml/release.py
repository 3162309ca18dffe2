"""What a release says about itself, and its golden rows: written when it is packed, read by the server.

bundle/          bundle of the model that answers, unchanged
judged/          bundle of the model that was evaluated, where that is another one
lookups/         each lookup as the newest batch of the training set saw it
references/      each reference table
release.json     the facts below
features.sqlite.sql  the features SELECT for SQLite, where that computes the same
golden.json      requests, and what the batch path answered to them
metrics.json, model_card.md
server.zip       the server's source, and that of the features function
requirements.txt, Dockerfile, sbom.cdx.json (every library, CycloneDX)
manifest.json    SHA-256 of every other file
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ml_assets import telemetry
from ml_assets.errors import ModelError
from ml_assets.ml import archives, documents

FACTS, GOLDEN, SOURCES = "release.json", "golden.json", "server.zip"
SQLITE_SELECT = "features.sqlite.sql"
PARITY = 1e-5
MAX_SOURCES = 64 * 2**20  # bytes that server.zip may unpack to
# What a server process is started with, in the image and under proof.
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", **telemetry.OFF}
JUDGED = "judged"


@dataclass(frozen=True)
class ServingFacts:
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
        constraints: Column -> min, max, allowed and regex, where they are declared.
        broken: warn | refuse: what becomes of a request's values that break one.
        row_wise: Does a row's features depend on that row alone?
        features_engine: What computes the features of requests: sqlite or duckdb.
        features_why: Why it is not sqlite; empty otherwise.
        indexes: Lookup or reference -> the columns by which the SELECT on SQLite finds its rows.
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
    constraints: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: Literal["warn", "refuse"] = "warn"
    row_wise: bool = False
    features_engine: Literal["sqlite", "duckdb"] = "duckdb"
    features_why: str = ""
    indexes: dict[str, list[list[str]]] = field(default_factory=dict)


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


def write(folder: Path, facts: ServingFacts, golden: Golden) -> None:
    """Write both files."""
    (folder / FACTS).write_text(json.dumps(asdict(facts), indent=2))
    (folder / GOLDEN).write_text(json.dumps(asdict(golden), default=_text))


def _text(value: Any) -> str:
    if isinstance(value, dt.date):  # a datetime is one, too
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} is no value of a request")


def read_facts(folder: Path) -> ServingFacts:
    """The facts of a release whose files were verified.

    Raises:
        ModelError: They cannot be read, or name files that the release does not have.
    """
    facts = documents.read(folder / FACTS, ServingFacts)
    needed = [f"bundle/{facts.sql}"] if facts.sql is not None else []
    needed += [f"lookups/{name}.parquet" for name in facts.lookups]
    needed += [f"references/{name}.parquet" for name in facts.references]
    needed += [SQLITE_SELECT] if facts.features_engine == "sqlite" else []
    for name in needed:
        # Their paths are built from names, which must not lead out of the folder, nor through a folder that is a link.
        if ".." in Path(name).parts or Path(name).is_absolute() or not (folder / name).is_file():
            found = f"{name}, which it does not have"
            raise ModelError("The release names a file.", found=found, where={"file": folder / FACTS})
    if (facts.sql is None) == (facts.function is None):
        raise ModelError(
            "A release has one of a features SELECT and a features function.", where={"file": folder / FACTS}
        )
    if (folder / SOURCES).exists():
        archives.check(folder / SOURCES, MAX_SOURCES)
    return facts


def table_file(folder: Path, tables: Path | None, kind: str, name: str) -> Path:
    """The Parquet file of a lookup or reference: among newer tables where it is there, else the release's own."""
    file = Path(kind) / f"{name}.parquet"
    return tables / file if tables is not None and (tables / file).is_file() else folder / file


def source_line(sql: str) -> str:
    """First line of the SELECT for SQLite: which features SELECT it is translated from."""
    return f"-- of features.sql, SHA-256 {hashlib.sha256(sql.encode()).hexdigest()}"


def read_golden(folder: Path) -> Golden:
    """The golden rows of a release.

    Raises:
        ModelError: They cannot be read.
    """
    return documents.read(folder / GOLDEN, Golden)


def difference(golden: Golden, scores: Sequence[float], decisions: Sequence[str], is_class: bool) -> float:
    """The largest difference from the golden scores, relative for values beyond 1; infinite for another decision."""
    if len(scores) != len(golden.scores) or (is_class and list(decisions) != golden.decisions):
        return float("inf")
    expected, found = np.asarray(golden.scores), np.asarray(scores, dtype=np.float64)
    gaps = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    return float("inf") if np.isnan(gaps).any() else float(gaps.max(initial=0.0))
