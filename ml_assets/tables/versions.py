"""The registry: which model versions exist, what they came from, and which of them the aliases name.

Versions and alias moves are appended, never changed; an alias names what its newest event says.
"""

from __future__ import annotations

import datetime as dt
import getpass
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from ml_assets.errors import ModelError, did_you_mean
from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.tables.pipelines import need_pipeline
from ml_assets.tables.table import Column, Table

VERSIONS = Table(
    "trained_model",
    "A registered model version.",
    (
        Column("version", "VARCHAR", "MAJOR.MINOR.PATCH."),
        Column("created_at", "TIMESTAMP", "When it was registered, UTC."),
        Column("candidate", "VARCHAR", "Name of the candidate that it was."),
        Column("estimator", "VARCHAR", "Import path of its algorithm."),
        Column("params", "JSON", "Parameters of the algorithm."),
        Column("pin_id", "VARCHAR", "The training set that it was trained on."),
        Column("snapshot_id", "BIGINT", "Snapshot of the lake that the training set reads; it is never expired."),
        Column("train_batches", "VARCHAR[]", "Batches that it was fitted on."),
        Column("recipe", "JSON", "Hashes of what decides the version number: schema, features, algorithm, code."),
        Column(
            "fingerprint",
            "VARCHAR",
            "Hash of what decides the model: training set, algorithm, parameters, seed and recipe.",
        ),
        Column("validation_score", "DOUBLE", "Score on the validation part, by the metric that was tuned."),
        Column("selection_score", "DOUBLE", "The score by which it was selected among the candidates."),
        Column("selection_why", "VARCHAR", "Why this candidate was selected."),
        Column("threshold", "DOUBLE", "Decision threshold (binary)."),
        Column("bundle", "VARCHAR", "Folder of the bundle, relative to the bundles folder."),
        Column("bundle_sha256", "VARCHAR", "SHA-256 of the bundle's manifest."),
        Column("code_version", "VARCHAR", "Of the code and the part of the YAML that trained it."),
        Column("run_id", "VARCHAR", "Dagster run."),
        Column("git_commit", "VARCHAR", "Git commit of the project."),
        Column("triggered_by", "VARCHAR", "Who or what requested the training.", earlier="asked_by"),
    ),
    written_by="asset trained_model",
    format=2,
)
ALIAS_EVENTS = Table(
    "alias_events",
    "A move of an alias; an alias names what its newest event says.",
    (
        Column("alias", "VARCHAR", "champion or challenger."),
        Column("version", "VARCHAR", "The version that it names from then on."),
        Column("moved_at", "TIMESTAMP", "When, UTC."),
        Column("moved_by", "VARCHAR", "Who or what decided.", earlier="by"),
        Column("why", "VARCHAR", "The reason, as the decision has it."),
        Column("run_id", "VARCHAR", "Dagster run."),
    ),
    written_by="asset champion",
    format=2,
)
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
        code_version: Of the code and the part of the YAML that trained it.
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
    code_version: str | None = None


def records(lake: Lake, pipeline: str) -> list[dict[str, Any]]:
    """Every column of `VERSIONS` for all versions of a pipeline, oldest first.

    What an earlier version of ml_assets did not write is None; `params` and `recipe` are dictionaries.
    """
    rows = VERSIONS.query(lake, pipeline, "SELECT * FROM {t} ORDER BY created_at")
    for row in rows:
        row.update({name: json.loads(row[name] or "{}") for name in ("params", "recipe")})
    return [{name: row[name] for name in VERSIONS.types} for row in rows]


def versions(lake: Lake, pipeline: str) -> list[ModelVersion]:
    """All versions of a pipeline, oldest first."""
    fields = list(ModelVersion.__dataclass_fields__)
    return [ModelVersion(**{name: row[name] for name in fields}) for row in records(lake, pipeline)]


def version(lake: Lake, pipeline: str, number: str) -> ModelVersion | None:
    """One version by its number."""
    return next((model for model in versions(lake, pipeline) if model.version == number), None)


def with_models(lake: Lake) -> list[str]:
    """Pipelines with a registered model, in order."""
    return [pipeline for pipeline, _, name in (one.partition(".") for one in lake.tables()) if name == VERSIONS.name]


def check_pipeline(lake: Lake, pipeline: str) -> None:
    """Refuse a pipeline without models.

    Raises:
        UnknownPipeline: There is no such pipeline.
        ModelError: No model of it is registered.
    """
    if pipeline not in with_models(lake):
        need_pipeline(lake, pipeline)
        raise ModelError(
            f"The pipeline {pipeline} has no model yet.",
            fix=f"Run `ml-assets train {pipeline}`.",
        )


def need_version(lake: Lake, pipeline: str, number: str) -> ModelVersion:
    """One version by its number.

    Raises:
        ModelError: There is no such pipeline or version.
    """
    check_pipeline(lake, pipeline)
    known = {model.version: model for model in versions(lake, pipeline)}
    if number not in known:
        raise ModelError(f"The pipeline {pipeline} has no model version {number!r}.", fix=did_you_mean(number, known))
    return known[number]


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
    lake.append([VERSIONS.rows(pipeline, [{"created_at": now(), **row}])], commit)


def alias(lake: Lake, pipeline: str, name: Alias, moment: dt.datetime | None = None) -> ModelVersion | None:
    """The version that an alias names, or named at a moment (UTC where it has no zone)."""
    rows = ALIAS_EVENTS.query(
        lake,
        pipeline,
        """SELECT version FROM {t} WHERE alias = $alias AND moved_at <= coalesce($moment, 'infinity'::TIMESTAMP)
        ORDER BY moved_at DESC LIMIT 1""",
        {"alias": name, "moment": moment and _utc(moment)},
    )
    return version(lake, pipeline, rows[0]["version"]) if rows else None


def alias_events(lake: Lake, pipeline: str) -> list[dict[str, Any]]:
    """Every move of an alias, oldest first, with the columns of `ALIAS_EVENTS`."""
    return ALIAS_EVENTS.query(lake, pipeline, "SELECT * FROM {t} ORDER BY moved_at")


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
            fix=f"Run `ml-assets train {pipeline}`; if it ran, {pipeline}.champion says why no version was promoted.",
        )
    return model


def alias_event(pipeline: str, name: Alias, number: str, why: str, by: str, run_id: str) -> Rows:
    """The event that makes an alias name another version; it takes effect when it is appended."""
    event = {"alias": name, "version": number, "moved_at": now(), "moved_by": by, "why": why, "run_id": run_id}
    return ALIAS_EVENTS.rows(pipeline, [event])


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo is None else moment.astimezone(dt.UTC).replace(tzinfo=None)


def now() -> dt.datetime:
    """This moment in UTC, without a zone, as the lake keeps times."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except OSError:  # a container's user may have no name
        return "unknown"
