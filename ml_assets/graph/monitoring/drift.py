"""Drift of one batch against the rows that the champion was fitted on, measured by Evidently, judged by the YAML."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.errors import BatchRefused
from ml_assets.ml import bundle, estimators
from ml_assets.store import pins
from ml_assets.store.lake import Lake
from ml_assets.store.registry import ModelVersion
from ml_assets.store.sql import identifiers, table

if TYPE_CHECKING:
    import pandas as pd

PREDICTION = "prediction"
COLUMNS = {
    "batch": "VARCHAR",
    "model_version": "VARCHAR",
    "drifted": "BOOLEAN",
    "share": "DOUBLE",
    "share_limit": "DOUBLE",
    "columns": 'STRUCT("column" VARCHAR, "method" VARCHAR, score DOUBLE, threshold DOUBLE, drifted BOOLEAN)[]',
    "rows": "BIGINT",
    "reference_rows": "BIGINT",
    "page": "VARCHAR",
}


@dataclass(frozen=True)
class ColumnDrift:
    """How far one column has moved.

    Args:
        column: Feature, or `prediction`.
        method: Evidently's measure.
        score: Its value.
        threshold: Beyond it the column has drifted.
        drifted: The verdict.
    """

    column: str
    method: str
    score: float
    threshold: float
    drifted: bool


@dataclass(frozen=True)
class Drift:
    """The verdict on a batch."""

    columns: list[ColumnDrift]
    limit: float
    rows: int
    reference_rows: int

    @property
    def share(self) -> float:
        """Share of columns that have drifted."""
        return sum(column.drifted for column in self.columns) / len(self.columns)

    @property
    def drifted(self) -> bool:
        return self.share >= self.limit

    def as_row(self, batch: str, version: str, page: str) -> dict[str, Any]:
        """A row of `drift_report`."""
        return {
            "batch": batch,
            "model_version": version,
            "drifted": self.drifted,
            "share": self.share,
            "share_limit": self.limit,
            "columns": [asdict(column) for column in self.columns],
            "rows": self.rows,
            "reference_rows": self.reference_rows,
            "page": page,
        }


def reference_frame(lake: Lake, pipeline: str, model: ModelVersion, loaded: bundle.Bundle, sample: int) -> pd.DataFrame:
    """A seeded sample of the rows that a version was fitted on: its features, and what it says of them."""
    pin = pins.newest(lake, pipeline, pin_id=model.pin_id)
    rows = pins.read(lake, pipeline, pin, ("train", "validation"))
    if len(rows) > sample:
        rows = rows.sample(sample, random_state=pin.seed)
    features = estimators.feature_frame(rows, loaded.schema.features)
    return _compared(features, estimators.predict_scores(loaded.model, features, loaded.schema.kind), loaded)


def current_frame(
    lake: Lake, pipeline: str, batch: str, loaded: bundle.Bundle, sample: int
) -> tuple[pd.DataFrame, int]:
    """A seeded sample of a batch's features and predictions, and the number of rows that the batch has.

    Raises:
        BatchRefused: The batch has no features.
    """
    rows = lake.count(f"{pipeline}.features", batch)
    if not rows:
        raise BatchRefused("features has no rows of the batch.", fix=f"Materialize {pipeline}/features for it.")
    frame = lake.con.execute(
        f"""SELECT {identifiers(list(loaded.schema.features))} FROM {table(f"{pipeline}.features")}
        WHERE batch = ? ORDER BY md5_number_lower(row_id::VARCHAR) LIMIT ?""",
        [batch, sample],
    ).df()
    features = estimators.feature_frame(frame, loaded.schema.features)
    scores = estimators.predict_scores(loaded.model, features, loaded.schema.kind)
    return _compared(features, scores, loaded), rows


def _compared(features: pd.DataFrame, scores: Any, loaded: bundle.Bundle) -> pd.DataFrame:
    said = scores.max(axis=1) if loaded.schema.kind == "multiclass" else scores
    return features.assign(**{PREDICTION: said})


def compare(
    current: pd.DataFrame, reference: pd.DataFrame, schema: bundle.Schema, limit: float, rows: int, page: Path
) -> Drift:
    """Evidently's drift of every column, and its page as one HTML file.

    A column without a single value on one side cannot be compared and is left out of the share.

    Args:
        current: Sample of the batch.
        reference: Sample of the fitted rows, with the same columns.
        schema: Types of the features.
        limit: Share of columns from which on the batch counts as drifted.
        rows: Rows of the whole batch.
        page: Where the page goes; it appears whole or not at all.
    """
    usable = [name for name in current.columns if current[name].notna().any() and reference[name].notna().any()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently's own imports and plots warn
        snapshot = _snapshot(current[usable], reference[usable], schema, limit)
        page.parent.mkdir(parents=True, exist_ok=True)
        new = page.with_suffix(".new")
        snapshot.save_html(str(new))
    new.replace(page)
    return Drift(_columns(snapshot.dict()["metrics"]), limit, rows, len(reference))


def _snapshot(current: pd.DataFrame, reference: pd.DataFrame, schema: bundle.Schema, limit: float) -> Any:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    categories = [name for name in current.columns if schema.features.get(name) == "category"]
    definition = DataDefinition(
        numerical_columns=[name for name in current.columns if name not in categories], categorical_columns=categories
    )
    return Report([DataDriftPreset(drift_share=limit)]).run(
        Dataset.from_pandas(current, definition), Dataset.from_pandas(reference, definition)
    )


def _columns(found: Sequence[dict[str, Any]]) -> list[ColumnDrift]:
    """Evidently's values, judged by its own thresholds: a distance drifts above, a p-value below."""
    columns = []
    for metric in found:
        config = metric["config"]
        if not config["type"].endswith(":ValueDrift"):
            continue
        method = config.get("method") or _named(metric["metric_name"], "method")
        threshold = float(config.get("threshold") or _named(metric["metric_name"], "threshold"))
        score = float(metric["value"])
        drifted = score < threshold if "p_value" in method else score >= threshold
        columns.append(ColumnDrift(config["column"], method, score, threshold, drifted))
    return columns


def _named(text: str, name: str) -> str:
    """An argument from a metric's name such as `ValueDrift(column=x,method=K-S p_value,threshold=0.05)`."""
    match = re.search(rf"{name}=([^,]*?)(?:,\w+=|\)$)", text)
    return match[1] if match else ""
