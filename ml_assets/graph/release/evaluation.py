"""The evaluation of a model version on test rows that no search has seen, as rows of one long table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_assets.errors import ModelError
from ml_assets.ml import bundle, estimators, metrics
from ml_assets.spec import PipelineSpec
from ml_assets.store import pins
from ml_assets.store.lake import Lake
from ml_assets.store.paths import Paths
from ml_assets.store.pins import LABEL, Pin
from ml_assets.store.registry import ModelVersion, now

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

COLUMNS = {
    "version": "VARCHAR",
    "pin_id": "VARCHAR",
    "evaluated_at": "TIMESTAMP",
    "scope": "VARCHAR",
    "slice_by": "VARCHAR",
    "slice": "VARCHAR",
    "metric": "VARCHAR",
    "value": "DOUBLE",
    "low": "DOUBLE",
    "high": "DOUBLE",
    "rows": "BIGINT",
    "note": "VARCHAR",
}


@dataclass(frozen=True)
class Finding:
    """One number of an evaluation.

    Args:
        scope: test, train, baseline, champion, gain_over_champion, slice, or noise.
        metric: Metric, or `flips` for noise.
        value: Its value.
        rows: Rows that it was computed on.
        low: Lower end of its interval, where it has one.
        high: Upper end.
        slice_by: Column of a slice.
        slice: Value of that column.
        note: What a reader of the number should know.
    """

    scope: str
    metric: str
    value: float
    rows: int
    low: float | None = None
    high: float | None = None
    slice_by: str | None = None
    slice: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Judged:
    """A model's answers on test rows."""

    rows: pd.DataFrame
    labels: Array
    scores: Array
    schema: bundle.Schema
    version: str

    @property
    def decisions(self) -> Array:
        return metrics.decide(self.scores, self.schema.kind, self.schema.threshold, self.schema.classes)

    def score(self, metric: str, mask: Array | None = None) -> float:
        rows = slice(None) if mask is None else mask
        return metrics.score(
            metric, self.labels[rows], self.scores[rows], self.schema.kind, self.schema.threshold, self.schema.classes
        )

    def bootstrap(self, metric: str, seed: int, other: Array | None = None) -> Array:
        """Values of a metric on resampled rows, or the gains over `other` scores on the same rows."""
        schema = self.schema
        return metrics.bootstrap(
            metric, self.labels, self.scores, schema.kind, schema.threshold, schema.classes, other=other, seed=seed
        )


def evaluate(
    lake: Lake, paths: Paths, spec: PipelineSpec, pin: Pin, model: ModelVersion, champion: ModelVersion | None
) -> tuple[list[Finding], Judged]:
    """Score a version on the pin's test rows, and the champion on the same rows.

    Returns:
        Every finding, and the version's answers.
    """
    slices = tuple(spec.gates.slices.by) if spec.gates.slices else ()
    loaded = bundle.load(paths.bundles / model.bundle, model.bundle_sha256)
    judged = _judge(loaded, pins.read(lake, spec.name, pin, ("test",), slices), model.version)
    found = [
        *_test(spec, judged),
        *_train_and_baseline(lake, spec, pin, loaded, judged),
        *_against_champion(paths, spec, judged, model, champion),
        *_slices(spec, judged),
        *_noise(spec, loaded, judged),
    ]
    return found, judged


def as_rows(found: Sequence[Finding], version: str, pin_id: str) -> list[dict[str, Any]]:
    """Findings as rows of `evaluation_report`."""
    shared = {"version": version, "pin_id": pin_id, "evaluated_at": now()}
    return [{**shared, **asdict(finding)} for finding in found]


def _judge(loaded: bundle.Bundle, rows: pd.DataFrame, version: str) -> Judged:
    features = estimators.feature_frame(rows, loaded.schema.features)
    scores = estimators.predict_scores(loaded.model, features, loaded.schema.kind)
    return Judged(rows, estimators.label_array(rows[LABEL], loaded.schema.kind), scores, loaded.schema, version)


def _test(spec: PipelineSpec, judged: Judged) -> list[Finding]:
    values = metrics.all_scores(
        judged.labels, judged.scores, judged.schema.kind, judged.schema.threshold, judged.schema.classes
    )
    low, high = metrics.interval(judged.bootstrap(spec.metric, spec.tuning.seed))
    rows = len(judged.labels)
    ends = {spec.metric: (low, high)}
    return [Finding("test", name, value, rows, *ends.get(name, (None, None))) for name, value in values.items()]


def _train_and_baseline(
    lake: Lake, spec: PipelineSpec, pin: Pin, loaded: bundle.Bundle, judged: Judged
) -> list[Finding]:
    rows = pins.read(lake, spec.name, pin, ("train", "validation"))
    fitted = _judge(loaded, rows, judged.version)
    schema = judged.schema
    dummy = metrics.dummy_score(
        spec.metric, fitted.labels, judged.labels, schema.kind, schema.threshold, schema.classes
    )
    return [
        Finding("train", spec.metric, fitted.score(spec.metric), len(rows)),
        Finding("baseline", spec.metric, dummy, len(judged.labels)),
    ]


def _against_champion(
    paths: Paths, spec: PipelineSpec, judged: Judged, model: ModelVersion, champion: ModelVersion | None
) -> list[Finding]:
    """The champion on the same rows; nothing where there is none, or where it needs features that are gone."""
    if champion is None or champion.version == model.version:
        return []
    try:
        loaded = bundle.load(paths.bundles / champion.bundle, champion.bundle_sha256)
    except ModelError:
        return []  # the check of the champion asset names the broken bundle
    if not set(loaded.schema.features) <= set(judged.rows.columns) or loaded.schema.target != judged.schema.target:
        return []
    other = _judge(loaded, judged.rows, champion.version)
    gains = judged.bootstrap(spec.metric, spec.tuning.seed, other=other.scores)
    low, high = metrics.interval(gains, 2 * spec.gates.champion.confidence - 1)  # one-sided
    value = other.score(spec.metric)
    rows = len(judged.labels)
    return [
        Finding("champion", spec.metric, value, rows),
        Finding(
            "gain_over_champion",
            spec.metric,
            metrics.gain(spec.metric, judged.score(spec.metric), value),
            rows,
            low,
            high,
        ),
    ]


def _slices(spec: PipelineSpec, judged: Judged) -> list[Finding]:
    if spec.gates.slices is None:
        return []
    metric = spec.gates.slices.metric or spec.metric
    found = []
    for column in spec.gates.slices.by:
        values = judged.rows["slice_" + column]
        for value in sorted(values.dropna().unique().tolist(), key=str):
            mask = (values == value).to_numpy()
            finding = Finding(
                "slice", metric, judged.score(metric, mask), int(mask.sum()), slice_by=column, slice=str(value)
            )
            found.append(finding)
    return found


def _noise(spec: PipelineSpec, loaded: bundle.Bundle, judged: Judged) -> list[Finding]:
    """Share of decisions that turn when every numeric feature moves by a little noise."""
    if spec.gates.sensitivity is None or spec.target.kind == "regression":
        return []
    rng = np.random.default_rng(spec.tuning.seed)
    features = estimators.feature_frame(judged.rows, loaded.schema.features)
    for name, kind in loaded.schema.features.items():
        if kind == "number":
            spread = float(features[name].std(skipna=True) or 0.0)
            features[name] = features[name] + rng.normal(0, spread * spec.gates.sensitivity.noise, len(features))
    scores = estimators.predict_scores(loaded.model, features, spec.target.kind)
    noisy = metrics.decide(scores, spec.target.kind, loaded.schema.threshold, loaded.schema.classes)
    return [Finding("noise", "flips", float(np.mean(noisy != judged.decisions)), len(features))]
