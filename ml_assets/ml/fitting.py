"""A candidate with its final parameters, fitted on labelled rows: what becomes a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.ml import bundle, estimators, reference
from ml_assets.ml.reference import Reference

if TYPE_CHECKING:
    import pandas as pd

    from ml_assets.spec import PipelineSpec


@dataclass(frozen=True)
class Fitted:
    """A fitted model and what its bundle keeps beside it.

    Args:
        model: Preprocessing and estimator as one scikit-learn Pipeline.
        schema: What the bundle needs and says.
        sample: Rows that it was fitted on, for the comparison with its ONNX graph.
        reference: What later batches are compared with.
    """

    model: Any
    schema: bundle.Schema
    sample: pd.DataFrame
    reference: Reference

    def save(self, folder: Path, texts: Mapping[str, str]) -> str:
        """Write the bundle; returns the SHA-256 of its manifest."""
        return bundle.save(folder, self.model, self.schema, texts, self.sample, self.reference)


def fit(
    rows: pd.DataFrame,
    label: str,
    spec: PipelineSpec,
    types: Mapping[str, str],
    name: str,
    params: Mapping[str, Any],
    threshold: float | None,
) -> Fitted:
    """Fit a candidate of the YAML; the same rows and seed give the same model.

    Args:
        rows: The features and the label; a caller that holds no other name for them lets them go early.
        label: Column of the label.
        spec: The pipeline.
        types: Feature name -> number | category.
        name: The candidate.
        params: Parameters of its estimator.
        threshold: Decision threshold (binary), chosen on rows that its model had not seen.
    """
    candidate, kind, seed = spec.candidates[name], spec.target.kind, spec.tuning.seed
    features = estimators.feature_frame(rows, dict(types))
    labels = estimators.label_array(rows[label], kind)
    del rows
    model, matrix = estimators.prepare_model(candidate, params, features, labels, dict(types), kind, seed)
    sample = bundle.parity_rows(features)
    kept = reference.take(features, types, spec.monitoring.sample, seed)
    del features  # a fit may need as much again
    estimators.fit_last(model, matrix, labels, candidate, seed)
    answered = reference.answered(kept.rows, estimators.predict_scores(model, kept.rows, kind))
    schema = bundle.Schema(
        kind=kind,
        target=spec.target.name,
        columns={column.name: column.type for column in spec.columns if not column.outcome},
        features=dict(types),
        classes=estimators.class_names(model, kind),
        threshold=threshold,
        estimator=estimators.class_path(candidate.estimator),
        nullable=[column.name for column in spec.columns if column.nullable and not column.outcome],
    )
    return Fitted(model, schema, sample, Reference(answered, kept.facts))
