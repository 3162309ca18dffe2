"""The two sides of a comparison: what a version was fitted on, and a batch with what that version says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.errors import BatchRefused, ModelError
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifier, table
from ml_assets.ml import bundle, estimators, reference
from ml_assets.ml.reference import PREDICTION, Reference
from ml_assets.tables import releases, training_sets
from ml_assets.tables.data import FEATURES
from ml_assets.tables.predictions import PREDICTIONS
from ml_assets.tables.versions import ModelVersion

if TYPE_CHECKING:
    import pandas as pd

# A number for each row, always the same: the rows with the smallest ones are the sample.
DRAW = "md5_number_lower(row_id::VARCHAR)"


@dataclass(frozen=True)
class Watched:
    """A version, loaded, and what it was fitted on."""

    model: ModelVersion
    loaded: bundle.Bundle
    reference: Reference


def watched(lake: Lake, paths: Paths, pipeline: str, model: ModelVersion, sample: int) -> Watched:
    """A version with the reference that its bundle keeps, or that its pin still gives, of at most `sample` rows."""
    served = releases.served(lake, pipeline, model)
    folder = paths.artifacts.bundles.fetch(served.bundle)
    loaded = bundle.load(folder, served.bundle_sha256)
    kept = reference.read(folder, sample)
    return Watched(model, loaded, kept or _of_pin(lake, pipeline, model, loaded, sample, served.parts))


def _of_pin(
    lake: Lake, pipeline: str, model: ModelVersion, loaded: bundle.Bundle, sample: int, parts: tuple[str, ...]
) -> Reference:
    """The same for a bundle of an earlier ml_assets, which kept none."""
    pin = training_sets.newest(lake, pipeline, pin_id=model.pin_id)
    rows = training_sets.read(lake, pipeline, pin, parts)
    taken = reference.take(
        estimators.feature_frame(rows, loaded.schema.features), loaded.schema.features, sample, pin.seed
    )
    return Reference(_asked(taken.rows, loaded), taken.facts)


def _asked(features: pd.DataFrame, loaded: bundle.Bundle) -> pd.DataFrame:
    return reference.answered(features, estimators.predict_scores(loaded.model, features, loaded.schema.kind))


def sample_of(lake: Lake, pipeline: str, batch: str, by: Watched, sample: int) -> tuple[pd.DataFrame, int]:
    """At most `sample` rows of a batch, the same ones each time, and the number of rows that the batch has.

    `prediction` is what the table `predictions` has of the version; where it has nothing, the model predicts.

    Raises:
        BatchRefused: The batch has no features.
        ModelError: The features are not those that the version was trained on.
    """
    name, types = FEATURES.of(pipeline), by.loaded.schema.features
    rows = lake.count(name, batch)
    if not rows:
        raise BatchRefused("features has no rows of the batch.", fix=f"Materialize {pipeline}/features for it.")
    missing = sorted(set(types) - set(lake.columns(table(name))))
    if missing:
        raise ModelError(
            f"Version {by.model.version} needs features that no longer exist: {', '.join(missing)}.",
            fix=f"Run the job {pipeline}_train for a version of today's features; where it is refused, put the "
            f"features back, or `ml-assets models promote {pipeline} VERSION`.",
        )
    limit = _limit(lake, name, batch, sample)
    columns = ", ".join(
        f"{identifier(column)}::DOUBLE AS {identifier(column)}" if kind == "number" else identifier(column)
        for column, kind in types.items()
    )
    sampled = lake.con.execute(
        f"SELECT row_id, {columns} FROM {table(name)} WHERE batch = ? AND {DRAW} <= ? ORDER BY row_id", [batch, limit]
    ).df()
    features = estimators.feature_frame(sampled, types)
    predicted = _predictions(lake, pipeline, batch, by.model.version, limit)
    if predicted is None or not predicted["row_id"].equals(sampled["row_id"]):
        return _asked(features, by.loaded), rows
    return features.assign(**{PREDICTION: predicted["score"]}), rows


def _limit(lake: Lake, name: str, batch: str, sample: int) -> int:
    """The draw up to which the rows of a batch are its sample. Only row ids are read for it, not the features."""
    (limit,) = lake.con.execute(
        f"SELECT max(draw) FROM (SELECT {DRAW} AS draw FROM {table(name)} WHERE batch = ? ORDER BY draw LIMIT ?)",
        [batch, sample],
    ).fetchall()[0]
    return int(limit)


def _predictions(lake: Lake, pipeline: str, batch: str, version: str, limit: int) -> pd.DataFrame | None:
    """row_id and score of the sampled rows by a version. In whatever role it scored, it predicts the same for a row."""
    name = PREDICTIONS.of(pipeline)
    if not lake.exists(name):
        return None
    return lake.con.execute(
        f"""SELECT row_id, score FROM {table(name)}
        WHERE batch = ? AND model_version = ? AND {DRAW} <= ? AND score IS NOT NULL ORDER BY row_id""",
        [batch, version, limit],
    ).df()
