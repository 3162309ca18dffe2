"""The registry: which model versions exist, what they came from, and which of them the aliases name.

Versions and alias moves are appended, never changed; an alias names what its newest event says.
Tables: `<pipeline>.trained_model`, `<pipeline>.alias_events`.
"""

from __future__ import annotations

import datetime as dt
import getpass
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from ml_assets.errors import ModelError
from ml_assets.store.lake import Commit, Lake, Rows
from ml_assets.store.sql import table

VERSIONS = {
    "version": "VARCHAR",
    "created_at": "TIMESTAMP",
    "candidate": "VARCHAR",
    "estimator": "VARCHAR",
    "params": "JSON",
    "pin_id": "VARCHAR",
    "snapshot_id": "BIGINT",
    "train_batches": "VARCHAR[]",
    "recipe": "JSON",
    "fingerprint": "VARCHAR",
    "validation_score": "DOUBLE",
    "threshold": "DOUBLE",
    "bundle": "VARCHAR",
    "bundle_sha256": "VARCHAR",
    "code_version": "VARCHAR",
    "run_id": "VARCHAR",
}
ALIAS_EVENTS = {
    "alias": "VARCHAR",
    "version": "VARCHAR",
    "moved_at": "TIMESTAMP",
    "by": "VARCHAR",
    "why": "VARCHAR",
    "run_id": "VARCHAR",
}
Alias = Literal["champion", "challenger"]


@dataclass(frozen=True)
class ModelVersion:
    """One registered model.

    Args:
        version: MAJOR.MINOR.PATCH.
        candidate: Name of the candidate that it was.
        pin_id: The training set that it was trained on.
        snapshot_id: Snapshot of the lake that the pin reads.
        train_batches: Batches that it was fitted on.
        recipe: Hashes of what decides the version number: schema, features, algorithm, code.
        threshold: Decision threshold (binary); None otherwise.
        bundle: Folder of the bundle, relative to the bundles folder.
        bundle_sha256: SHA-256 of the bundle's manifest.
        estimator: Import path of its algorithm.
        params: Parameters of the algorithm.
    """

    version: str
    candidate: str
    pin_id: str
    snapshot_id: int
    train_batches: list[str]
    recipe: dict[str, str]
    fingerprint: str
    validation_score: float
    threshold: float | None
    bundle: str
    bundle_sha256: str
    estimator: str = ""
    params: dict[str, Any] = field(default_factory=dict)


def versions(lake: Lake, pipeline: str) -> list[ModelVersion]:
    """All versions of a pipeline, oldest first."""
    name = f"{pipeline}.trained_model"
    if not lake.exists(name):
        return []
    fields = list(ModelVersion.__dataclass_fields__)
    rows = lake.rows(f"SELECT {', '.join(fields)} FROM {table(name)} ORDER BY created_at")
    as_json = ("recipe", "params")
    return [ModelVersion(**{**row, **{name: json.loads(row[name]) for name in as_json}}) for row in rows]


def version(lake: Lake, pipeline: str, number: str) -> ModelVersion | None:
    """One version by its number."""
    return next((model for model in versions(lake, pipeline) if model.version == number), None)


def of_pin(lake: Lake, pipeline: str, pin_id: str) -> ModelVersion:
    """The newest version that was trained on a pin.

    Raises:
        ModelError: There is none.
    """
    found = [model for model in versions(lake, pipeline) if model.pin_id == pin_id]
    if not found:
        raise ModelError(
            "No model has been trained on the newest training set.",
            where={"pipeline": pipeline, "pin": pin_id},
            fix=f"Materialize {pipeline}/trained_model, or run the job {pipeline}_train.",
        )
    return found[-1]


def next_version(recipe: dict[str, str], earlier: list[ModelVersion]) -> str:
    """The number of a new version.

    MAJOR: the request schema or the set of features changed. MINOR: algorithm, parameters' search space or code
    changed. PATCH: the same recipe on other data. Always above every number that was drawn before.

    Args:
        recipe: `schema` and `method` hashes of the new version.
        earlier: All versions so far, oldest first.
    """
    if not earlier:
        return "1.0.0"
    major, minor, patch = max(tuple(int(part) for part in model.version.split(".")) for model in earlier)
    last = earlier[-1].recipe
    if recipe["schema"] != last["schema"]:
        return f"{major + 1}.0.0"
    if recipe["method"] != last["method"]:
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def register(lake: Lake, pipeline: str, row: dict[str, Any], commit: Commit) -> None:
    """Append one version; `row` has the columns of `VERSIONS`."""
    lake.append([Rows(f"{pipeline}.trained_model", VERSIONS, [{"created_at": now(), **row}])], commit)


def alias(lake: Lake, pipeline: str, name: Alias) -> ModelVersion | None:
    """The version that an alias names now."""
    events = f"{pipeline}.alias_events"
    if not lake.exists(events):
        return None
    rows = lake.rows(f"SELECT version FROM {table(events)} WHERE alias = ? ORDER BY moved_at DESC LIMIT 1", [name])
    return version(lake, pipeline, rows[0]["version"]) if rows else None


def need_alias(lake: Lake, pipeline: str, name: Alias) -> ModelVersion:
    """The version that an alias names now.

    Raises:
        ModelError: The alias names none.
    """
    model = alias(lake, pipeline, name)
    if model is None:
        raise ModelError(
            f"There is no {name} yet.",
            where={"pipeline": pipeline},
            fix=f"Run the job {pipeline}_train; if it ran, {pipeline}.champion says why no version was promoted.",
        )
    return model


def alias_event(pipeline: str, name: Alias, number: str, why: str, by: str, run_id: str) -> Rows:
    """The event that makes an alias name another version; it takes effect when it is appended."""
    event = {"alias": name, "version": number, "moved_at": now(), "by": by, "why": why, "run_id": run_id}
    return Rows(f"{pipeline}.alias_events", ALIAS_EVENTS, [event])


def now() -> dt.datetime:
    """This moment in UTC, without a zone, as the lake keeps times."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except OSError:  # a container's user may have no name
        return "unknown"
