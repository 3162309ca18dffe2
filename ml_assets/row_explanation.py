"""Why a row of a batch got its score, or why it has none: read from the lake, explained as the server does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_assets.errors import BatchRefused, MLAssetsError, ModelError, did_you_mean
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifier
from ml_assets.ml import bundle
from ml_assets.server import explain
from ml_assets.tables import predictions, releases, versions
from ml_assets.tables.data import FEATURES, QUARANTINE, RAW_DATA, VALIDATED_DATA
from ml_assets.tables.table import Table

SAME_SCORE = 1e-9
SHOWN = 5


@dataclass(frozen=True)
class Model:
    """A version's model, as `server.explain` wants it."""

    bundle: bundle.Bundle
    background: explain.Features

    def scores_of(self, features: explain.Features) -> Any:
        """Scores of features."""
        return self.bundle.scores_of(features)


def explain_row(
    lake: Lake, paths: Paths, pipeline: str, batch: str, row: str, version: str | None = None
) -> dict[str, Any]:
    """Everything about the score of one row.

    Args:
        lake: The lake.
        paths: Folders of the project.
        pipeline: The pipeline.
        batch: The batch.
        row: Its number in the batch, or `COLUMN=VALUE`, several of them with commas between.
        version: Of those that scored the batch; None: the champion of that moment.

    Returns:
        pipeline, batch, row_id; of a row in quarantine its `quarantined_for`; of any other model_version, role, seen,
        score, decision, threshold, score_now (with today's features) and `features`: feature, value, effect, those
        that move the score most first.

    Raises:
        MLAssetsError: There is no such batch or row, several rows are meant, or it was not scored.
    """
    known = lake.batches(RAW_DATA.of(pipeline)) if lake.exists(RAW_DATA.of(pipeline)) else []
    if batch not in known:
        raise BatchRefused(
            f"{pipeline} has no rows of a batch {batch!r}.", fix=did_you_mean(batch, known) if known else None
        )
    table, row_id = _find(lake, pipeline, batch, row)
    found: dict[str, Any] = {"pipeline": pipeline, "batch": batch, "row_id": row_id}
    if table is QUARANTINE:
        (held,) = _rows(lake, pipeline, QUARANTINE, batch, "row_id = $row", {"row": row_id})
        return {**found, "quarantined_for": held["reasons"]}
    scored = _prediction(lake, pipeline, batch, row_id, version)
    model = versions.need_version(lake, pipeline, scored["model_version"])
    served = releases.served(lake, pipeline, model)
    folder = paths.artifacts.bundles.fetch(served.bundle)
    loaded = bundle.load(folder, served.bundle_sha256)
    features = _features(lake, pipeline, batch, row_id, loaded.schema)
    now, reasons = _explained(Model(loaded, explain.background(folder, loaded.schema)), features)
    named = ("model_version", "role", "seen", "score", "decision", "threshold")
    return {**found, **{name: scored[name] for name in named}, "score_now": now, "features": reasons}


def has_changed(found: Mapping[str, Any]) -> bool:
    """Have the row's features changed since it was scored?"""
    then, now = float(found["score"]), float(found["score_now"])
    return abs(then - now) > SAME_SCORE * max(1.0, abs(then))


def _find(lake: Lake, pipeline: str, batch: str, row: str) -> tuple[Table, int]:
    """The table that has the row, and its number."""
    condition, values = _condition(lake, pipeline, row)
    hits = [
        (table, int(one["row_id"]))
        for table in (VALIDATED_DATA, QUARANTINE)
        for one in _rows(lake, pipeline, table, batch, condition, values)
    ]
    if len(hits) == 1:
        return hits[0]
    where = {"pipeline": pipeline, "batch": batch}
    if not hits:
        count = lake.count(RAW_DATA.of(pipeline), batch)
        raise MLAssetsError(
            f"The batch has no row {row}.",
            where=where,
            found=f"{count:,} rows, numbered from 1",
            fix="Give a number (row_id), or name a row as COLUMN=VALUE,COLUMN=VALUE.",
        )
    numbers = ", ".join(str(row_id) for _, row_id in hits[:SHOWN])
    raise MLAssetsError(
        f"{len(hits):,} rows are {row}.",
        found=f"row {numbers}{', ...' if len(hits) > SHOWN else ''}",
        where=where,
        fix="Name one by its number, or add a column: COLUMN=VALUE,COLUMN=VALUE.",
    )


def _condition(lake: Lake, pipeline: str, row: str) -> tuple[str, dict[str, str]]:
    """SQL that says which row is meant, and its values."""
    if row.isascii() and row.isdecimal():
        return "CAST(row_id AS VARCHAR) = $row", {
            "row": row.lstrip("0") or "0"
        }  # as text: it may be larger than any BIGINT
    parts = [part.partition("=") for part in row.split(",")]
    columns = lake.columns(VALIDATED_DATA.sql(pipeline))
    for name, sign, _ in parts:
        if not sign:
            raise MLAssetsError(
                f"{row!r} names no row.", fix="Give its number, or COLUMN=VALUE with commas between several."
            )
        if name not in columns:
            raise MLAssetsError(f"There is no column {name!r}.", fix=did_you_mean(name, columns))
    names = [f"CAST({identifier(name)} AS VARCHAR) = $value{number}" for number, (name, _, _) in enumerate(parts)]
    return " AND ".join(names), {f"value{number}": value for number, (_, _, value) in enumerate(parts)}


def _rows(
    lake: Lake, pipeline: str, table: Table, batch: str, condition: str, values: Mapping[str, object]
) -> list[dict[str, Any]]:
    sql = f"SELECT * FROM {{t}} WHERE batch = $batch AND {condition} ORDER BY row_id"
    return table.query(lake, pipeline, sql, {"batch": batch, **values})


def _prediction(lake: Lake, pipeline: str, batch: str, row_id: int, version: str | None) -> dict[str, Any]:
    found = predictions.of_row(lake, pipeline, batch, row_id)
    if not found:
        raise ModelError(
            "The batch has not been scored.",
            where={"pipeline": pipeline, "batch": batch},
            fix=f"`ml-assets score {pipeline} {batch}`",
        )
    scored = {row["model_version"]: row for row in found}
    if version is not None and version not in scored:
        versions.need_version(lake, pipeline, version)
        raise ModelError(
            f"Version {version} has not scored the batch.",
            found=f"scores of {', '.join(scored)}",
            where={"pipeline": pipeline, "batch": batch},
            fix=f"`ml-assets score {pipeline} {batch} --version {version}` adds its scores.",
        )
    return scored[version] if version else found[0]


def _features(lake: Lake, pipeline: str, batch: str, row_id: int, schema: bundle.Schema) -> dict[str, list[Any]]:
    """Feature -> the row's value, typed as `explain.background` types those that it is compared with."""
    columns = ", ".join(
        f"CAST({identifier(name)} AS {'DOUBLE' if kind == 'number' else 'VARCHAR'}) AS {identifier(name)}"
        for name, kind in schema.features.items()
    )
    sql = f"SELECT {columns} FROM {{t}} WHERE batch = ? AND row_id = ?"
    found = FEATURES.query(lake, pipeline, sql, [batch, row_id])
    if not found:
        raise MLAssetsError("The row has no features.", fix=f"`ml-assets ingest {pipeline} {batch}`")
    return {name: [value] for name, value in found[0].items()}


def _explained(model: Model, features: Mapping[str, Sequence[Any]]) -> tuple[float, list[dict[str, Any]]]:
    """The score, and each feature with its effect, the strongest first."""
    scores = model.scores_of(features).reshape(1, -1)
    reasons = explain.explain(model, features, 1, len(features))[0] if explain.most_rows(model) else []
    return float(scores.max()), [{"feature": one.feature, "value": one.value, "effect": one.effect} for one in reasons]
