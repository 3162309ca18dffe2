"""The evaluation of a model version on test rows that no search has seen, as rows of one long table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from ml_assets import metrics
from ml_assets.errors import MLAssetsError, ModelError
from ml_assets.graph.release.evaluation import dependence, figures, leakage, money, robustness, slices, worst
from ml_assets.graph.release.evaluation.comparison import Opponent, opponent
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.metrics import weighted
from ml_assets.ml import bundle, calibration, estimators
from ml_assets.ml.baseline import dummy_scores, most_frequent
from ml_assets.ml.judged import Array, Judged
from ml_assets.spec import PipelineSpec
from ml_assets.tables import training_sets
from ml_assets.tables.evaluations import EvaluatedNumber, Evaluation
from ml_assets.tables.training_sets import LABEL, Pin
from ml_assets.tables.versions import ModelVersion

if TYPE_CHECKING:
    import pandas as pd


# The report has intervals of one width; the gate of the champion has its own.
SHOWN = ("gain_over_baseline_95", "gain_over_champion_95")


class EarlierFeatures(Protocol):
    """The champion's own features of a pin's test batches, as `graph/features` makes them again."""

    def __call__(
        self, lake: Lake, paths: Paths, spec: PipelineSpec, pin: Pin, model: ModelVersion, champion: ModelVersion
    ) -> pd.DataFrame | None:
        """batch, row_id and features; None where they are those of the version itself.

        Raises:
            MLAssetsError: They cannot be made any more.
        """


def evaluate(
    lake: Lake,
    paths: Paths,
    spec: PipelineSpec,
    pin: Pin,
    model: ModelVersion,
    champion: ModelVersion | None,
    own_features: EarlierFeatures | None = None,
) -> Evaluation:
    """Judge a version on the pin's test rows, and the champion on the same rows, each with its own features.

    Raises:
        ModelError: The version's bundle is not as it was registered.
    """
    from threadpoolctl import threadpool_limits

    extra = tuple(dict.fromkeys((*slices.columns(spec), *spec.key)))
    loaded = bundle.load(paths.artifacts.bundles.fetch(model.bundle), model.bundle_sha256)
    with threadpool_limits(1):  # hundreds of short predictions: on a busy machine, threads would wait for each other
        known = training_sets.share_seen_before(lake, spec.name, pin)  # first: DuckDB needs memory for it
        judged = predict(loaded, training_sets.read(lake, spec.name, pin, ("test",), extra), model.version)
        seen = training_sets.read(lake, spec.name, pin, ("train", "validation"), tuple(spec.key))
        fitted = predict(loaded, seen, model.version)
        other, why = None, ""
        too_few: list[EvaluatedNumber] = []
        try:
            if champion is not None and champion.version != model.version:
                against = opponent(lake, spec.name, champion, judged.rows)
                too_few = against.too_few(spec.metric)
                if not too_few:
                    made = own_features(lake, paths, spec, pin, model, champion) if own_features else None
                    other = _champion(paths, judged, champion, against, made)
        except MLAssetsError as error:  # the gate says so
            why = str(error)
        evaluation = examine(spec, loaded.model, fitted, judged, other, known, why)
        return replace(evaluation, found=[*evaluation.found, *too_few])


def predict(loaded: bundle.Bundle, rows: pd.DataFrame, version: str) -> Judged:
    """A model's predictions on rows as `training_sets.read` gives them."""
    kind = loaded.schema.kind
    scores = estimators.predict_scores(loaded.model, estimators.feature_frame(rows, loaded.schema.features), kind)
    labels = estimators.label_array(rows[LABEL], kind)
    favoured = str(most_frequent(labels)) if kind == "multiclass" else 1
    return Judged(rows, labels, scores, loaded.schema, version, favoured)


def examine(
    spec: PipelineSpec,
    model: Any,
    fitted: Judged,
    judged: Judged,
    champion: Judged | None,
    known: float,
    incomparable: str = "",
) -> Evaluation:
    """Everything about a model that its predictions tell.

    Args:
        spec: The pipeline.
        model: The fitted model, to predict changed rows.
        fitted: Its predictions on train and validation rows.
        judged: Its predictions on test rows.
        champion: The champion's predictions on the same test rows.
        known: Share of test rows that repeat a train or validation row.
        incomparable: Why there is a champion without predictions.
    """
    guesses = dummy_scores(fitted.labels, len(judged.labels), spec.target.kind)
    baseline = replace(judged, scores=guesses, version="baseline")
    found = [
        *_metrics(spec, judged, baseline, champion),
        EvaluatedNumber("train", spec.metric, fitted.score(spec.metric), len(fitted.labels)),
        *_calibration(spec, judged),
        *money.savings(spec, judged, champion),
        *slices.slices(spec, judged),
        *slices.fairness(spec, judged),
        *robustness.robustness(spec, model, judged),
        *leakage.leaks(spec, fitted, judged),
        EvaluatedNumber("identical", "share", known, len(judged.labels)),
    ]
    if incomparable:
        found.append(EvaluatedNumber("not_compared", spec.metric, float("nan"), len(judged.labels), note=incomparable))
    drawn = {
        **figures.figures(spec, judged, champion, baseline),
        "dependence": dependence.dependence(model, judged, found, spec.tuning.seed),
        "worst": worst.worst_rows(judged, spec.key, found),
    }
    shown = [finding for finding in found if finding.scope in SHOWN]
    found = [finding for finding in found if finding.scope not in SHOWN]
    for name, other in (("baseline", baseline), ("champion", champion)):
        shown += slices.of_other(spec, other, f"slice_{name}") if other else []
    return Evaluation(found, leakage.suspects(spec, found), judged, baseline, champion, drawn, shown)


def _champion(
    paths: Paths, judged: Judged, champion: ModelVersion, against: Opponent, own: pd.DataFrame | None
) -> Judged:
    """The champion's predictions on those of the same rows that it has not seen.

    Raises:
        ModelError: Its bundle was changed, it needs features that are gone, or it predicts another kind of target.
    """
    loaded = bundle.load(paths.artifacts.bundles.fetch(against.served.bundle), against.served.bundle_sha256)
    if loaded.schema.kind != judged.schema.kind:
        raise ModelError(
            f"Version {champion.version} predicts a {loaded.schema.kind} target; it is {judged.schema.kind} now."
        )
    rows = judged.rows if against.unseen.all() else judged.rows[against.unseen]
    if own is not None:
        place = ["batch", "row_id"]
        kept = rows[[name for name in map(str, rows) if name in (*place, LABEL) or name.startswith("slice_")]]
        rows = kept.merge(own, on=place, how="left", validate="one_to_one")
    missing = sorted(set(loaded.schema.features) - set(rows))
    if missing:
        raise ModelError(f"Version {champion.version} needs features that no longer exist: {', '.join(missing)}.")
    return replace(predict(loaded, rows, champion.version), note=against.note)


def _metrics(spec: PipelineSpec, judged: Judged, baseline: Judged, champion: Judged | None) -> list[EvaluatedNumber]:
    """Every metric, and the gains over baseline and champion on the same resamples of the rows."""
    names, rows = metrics.names(spec.target.kind), len(judged.labels)
    resampled = weighted.bootstrap([judged.statistic(name) for name in names], rows, spec.tuning.seed)
    values = judged.all_scores()
    found = [
        EvaluatedNumber("test", name, values[name], rows, *weighted.interval(resampled[:, place]))
        for place, name in enumerate(names)
    ]
    own = resampled[:, names.index(spec.metric)]
    found += _against(spec, judged, baseline, "baseline", own, 0.95)
    if champion is None:
        return found
    if len(champion.labels) < rows:
        judged = judged.beside(champion)
        own = weighted.bootstrap([judged.statistic(spec.metric)], len(judged.labels), spec.tuning.seed)[:, 0]
    return found + _against(spec, judged, champion, "champion", own, 2 * spec.gates.champion.confidence - 1)


def _against(
    spec: PipelineSpec, judged: Judged, other: Judged, name: str, own: Array, confidence: float
) -> list[EvaluatedNumber]:
    """Another model's score on the same rows, and the gain over it.

    Args:
        spec: The pipeline.
        judged: The version's predictions.
        other: The other model's.
        name: baseline or champion.
        own: The version's score on each resample of the rows; the seed gives the same for the other one.
        confidence: Of the gain's interval.
    """
    metric, rows = spec.metric, len(judged.labels)
    resampled = weighted.bootstrap([other.statistic(metric)], rows, spec.tuning.seed)[:, 0]
    value = other.score(metric)
    gains = own - resampled if metrics.METRICS[metric].is_higher_better else resampled - own
    gain = metrics.METRICS[metric].gain(judged.score(metric), value)
    note = other.version if name == "champion" else None
    return [
        EvaluatedNumber(name, metric, value, rows, *weighted.interval(resampled), note=note),
        EvaluatedNumber(
            f"gain_over_{name}", metric, gain, rows, *weighted.interval(gains, confidence), note=other.note or None
        ),
        EvaluatedNumber(f"gain_over_{name}_95", metric, gain, rows, *weighted.interval(gains)),
    ]


def _calibration(spec: PipelineSpec, judged: Judged) -> list[EvaluatedNumber]:
    """How far predicted probabilities are from observed shares: of 1 (binary), of the likeliest class (multiclass)."""
    if spec.target.kind == "regression":
        return []
    predicted, observed = judged.probabilities()
    by_chance = calibration.error_by_chance(predicted, spec.tuning.seed)
    note = f"perfect calibration would show up to {by_chance:.3f} on these rows"
    return [EvaluatedNumber("calibration", "ece", calibration.error(predicted, observed), len(observed), note=note)]
